-- job, process, now, due, duration, warnings as JSON, first, the last segment plans ...
-- -> {1, is complete} or {0}: the plan is not open, or not this process' to close; {-1}: unknown.
local job, process, now, due, duration, warnings, first = unpack(ARGV, 1, 7)
local state, open, owner, done, closed, language =
  unpack(redis.call('HMGET', of_job(job), 'state', 'open', 'claimed_by', 'done', 'closed', 'language'))
if not state then return {-1} end
if closed == now then return {1, state == 'assembling' and 1 or 0} end
local known = redis.call('HLEN', of_job(job, 'plan'))
if state ~= 'running' or not open or owner ~= process or known ~= tonumber(first) then return {0} end

local is_waiting = not is_held(job)
add_segments(job, known, 8, is_waiting and known + #ARGV or -1)
local total = redis.call('HLEN', of_job(job, 'plan'))
redis.call('HSET', of_job(job), 'closed', now, 'duration', duration, 'total', total)
if warnings ~= '[]' then redis.call('HSET', of_job(job), 'warnings', warnings) end
redis.call('HDEL', of_job(job), 'open', 'claimed_by', 'claims_lost')
redis.call('ZREM', K.open, job)
if not is_waiting and language then
  release_segments(job, 1, now)
elseif not is_waiting then  -- from now on, scripts of older versions can release them, too
  redis.call('HDEL', of_job(job), 'held_open')
  hold_segments(job, now, 'held')
elseif total > known then
  join_lane(job, now)
end
if tonumber(done) < total then return {1, 0} end
redis.call('HSET', of_job(job), 'state', 'assembling')
redis.call('ZADD', K.due, due, job)
return {1, 1}
