-- job, now, priority, tenant, lane, queued_as, need, duration, request, holds (1: all segments but the first wait for
-- the language that the first one finds), is_open (1: more segments follow), warnings as JSON, segment plans ...
-- -> 1: planned; 0: ended or already planned; -1: unknown.
local job, now, priority, tenant, lane, queued_as, need, duration, request, holds, is_open, warnings =
  unpack(ARGV, 1, 12)
local total = #ARGV - 12
local last_waiting = holds == '1' and 0 or total - 1
local state, planned = unpack(redis.call('HMGET', of_job(job), 'state', 'planned'))
if not state then return -1 end
if planned then return planned == now and 1 or 0 end
if state ~= 'accepted' then return 0 end
add_segments(job, 0, 13, last_waiting)
redis.call('HSET', of_job(job), 'state', 'running', 'request', request, 'planned', now, 'done', 0, 'seconds_done', 0,
  'seconds', exact(tonumber(duration) / total), 'priority', priority, 'tenant', tenant, 'lane', lane,
  'queued_as', queued_as, 'need', need)
if is_open == '1' then
  redis.call('HSET', of_job(job), 'open', 1)
  redis.call('ZADD', K.open, redis.call('ZSCORE', K.due, job) or now, job)  -- the claim for planning goes on
else
  redis.call('HSET', of_job(job), 'duration', duration, 'total', total)
end
if holds == '1' then hold_segments(job, now, is_open == '1' and 'held_open' or 'held') end
if warnings ~= '[]' then redis.call('HSET', of_job(job), 'warnings', warnings) end
join_lane(job, now)
local expires = redis.call('HGET', of_job(job), 'expires')
if expires then redis.call('ZADD', K.due, expires, job) else redis.call('ZREM', K.due, job) end
return 1
