-- job, process, now, until, first, segment plans ... -> {1, segments that are not done} or {0}: the plan is not open, or
-- not this process' to extend; {-1}: unknown. A repetition adds nothing, and other plans for known segments are refused.
local job, process, now, lease_end, first = unpack(ARGV, 1, 5)
local state, open, owner, done, language =
  unpack(redis.call('HMGET', of_job(job), 'state', 'open', 'claimed_by', 'done', 'language'))
if not state then return {-1} end
if state ~= 'running' or not open or owner ~= process then return {0} end
local known = redis.call('HLEN', of_job(job, 'plan'))
if known > tonumber(first) then
  for i = 6, #ARGV do
    if redis.call('HGET', of_job(job, 'plan'), first + i - 6) ~= ARGV[i] then return {0} end
  end
elseif known < tonumber(first) then
  return {0}
else
  add_segments(job, known, 6, is_held(job) and -1 or known + #ARGV)
  if not is_held(job) then join_lane(job, now) elseif language then release_segments(job, 1, now) end
  redis.call('HDEL', of_job(job), 'claims_lost')  -- this process got further than those before it
end
redis.call('ZADD', K.open, lease_end, job)
return {1, redis.call('HLEN', of_job(job, 'plan')) - tonumber(done)}
