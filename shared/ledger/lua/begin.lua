-- job, step, process, now, until, most -> 1: claimed until then; 0: the job is not at this step, or another process
-- has a valid claim; -1: unknown; -2: `most` processes died with the job.
local job, step, process, now, lease_end, most = unpack(ARGV)
local state, owner, lost, open, deferred =
  unpack(redis.call('HMGET', of_job(job), 'state', 'claimed_by', 'claims_lost', 'open', 'deferred'))
if not state then return -1 end
local claims = K.due
if state == 'running' and open then state, claims = 'accepted', K.open end  -- planning goes on
if state ~= step then return 0 end
if owner and owner ~= process and tonumber(redis.call('ZSCORE', claims, job) or 0) > tonumber(now) then
  return 0
end
if tonumber(lost or 0) >= tonumber(most) then return -2 end
redis.call('HSET', of_job(job), 'claimed_by', process)
redis.call('ZADD', claims, lease_end, job)
if claims == K.open then unpark(job) end
if deferred then undefer(job, deferred) end
return 1
