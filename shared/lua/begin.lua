-- job, planner, now, until -> 1: this planner's until then, 0: planned, ended, or another living planner's.
local job, planner, now, lease_end = unpack(ARGV)
local state, owner = unpack(redis.call('HMGET', of_job(job), 'state', 'planner'))
if not state then return -1 end
if state ~= 'accepted' then return 0 end
if owner and owner ~= planner and tonumber(redis.call('ZSCORE', K.due, job) or 0) > tonumber(now) then
  return 0
end
redis.call('HSET', of_job(job), 'planner', planner)
redis.call('ZADD', K.due, lease_end, job)
return 1
