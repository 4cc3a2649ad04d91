-- job, process, tenant, priority -> 1: the job waits until its file may be read; 0: it ended, or another process
-- has it. A deferred job is not due, except to expire: it is found where places are given out.
local job, process, tenant, priority = unpack(ARGV)
local state, owner, accepted, expires =
  unpack(redis.call('HMGET', of_job(job), 'state', 'claimed_by', 'accepted', 'expires'))
if state ~= 'accepted' or owner ~= process then return 0 end
redis.call('HDEL', of_job(job), 'claimed_by')
redis.call('HSET', of_job(job), 'deferred', tenant)
redis.call('ZADD', K.deferred .. tenant, exact(tonumber(priority) * 1e11 + tonumber(accepted)), job)
redis.call('SADD', K.deferred_tenants, tenant)
if expires then redis.call('ZADD', K.due, expires, job) else redis.call('ZREM', K.due, job) end
return 1
