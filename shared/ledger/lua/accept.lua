-- job, request, now, due -> 1: accepted, 0: already known.
local job, request, now, due = unpack(ARGV)
local known = redis.call('HGET', of_job(job), 'accepted')
if known then return known == now and 1 or 0 end
redis.call('HSET', of_job(job), 'state', 'accepted', 'request', request, 'accepted', now)
redis.call('ZADD', K.jobs, now, job)
redis.call('ZADD', K.due, due, job)
return 1
