-- job, now, priority, tenant, lane, queued_as, need, duration, request, holds (1: all segments but the first wait for
-- the language that the first one finds), warnings as JSON, segment plans ...
-- -> 1: planned; 0: ended or already planned; -1: unknown.
local job, now, priority, tenant, lane, queued_as, need, duration, request, holds, warnings = unpack(ARGV, 1, 11)
local total = #ARGV - 11
local last_waiting = holds == '1' and 0 or total - 1
local state, planned = unpack(redis.call('HMGET', of_job(job), 'state', 'planned'))
if not state then return -1 end
if planned then return planned == now and 1 or 0 end
if state ~= 'accepted' then return 0 end
for first = 0, total - 1, 1000 do
  local plans, waiting = {}, {}
  for index = first, math.min(first + 1000, total) - 1 do
    plans[#plans + 1] = index
    plans[#plans + 1] = ARGV[12 + index]
    if index <= last_waiting then
      waiting[#waiting + 1] = index
      waiting[#waiting + 1] = index
    end
  end
  redis.call('HSET', of_job(job, 'plan'), unpack(plans))
  if #waiting > 0 then redis.call('ZADD', of_job(job, 'waiting'), unpack(waiting)) end
end
redis.call('HSET', of_job(job), 'state', 'running', 'request', request, 'planned', now, 'duration', duration, 'total', total,
  'done', 0, 'seconds_done', 0, 'seconds', exact(tonumber(duration) / total), 'priority', priority,
  'tenant', tenant, 'lane', lane, 'queued_as', queued_as, 'need', need)
if holds == '1' then hold_segments(job, now) end
if warnings ~= '[]' then redis.call('HSET', of_job(job), 'warnings', warnings) end
join_lane(job, now)
local expires = redis.call('HGET', of_job(job), 'expires')
if expires then redis.call('ZADD', K.due, expires, job) else redis.call('ZREM', K.due, job) end
return 1
