-- job, process -> 1: parked, or parked before; 0: the plan is not open, or not this process'.
local job, process = unpack(ARGV)
local state, open, owner, priority, tenant, accepted =
  unpack(redis.call('HMGET', of_job(job), 'state', 'open', 'claimed_by', 'priority', 'tenant', 'accepted'))
if state ~= 'running' or not open then return 0 end
local class = priority .. '/' .. tenant
if owner ~= process then return redis.call('ZSCORE', K.parked .. class, job) and 1 or 0 end
redis.call('HDEL', of_job(job), 'claimed_by')
redis.call('ZREM', K.open, job)
redis.call('ZADD', K.parked .. class, accepted, job)
redis.call('ZADD', K.parked_classes, priority, class)
return 1
