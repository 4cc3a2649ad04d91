-- job -> 1: this call deleted the job; 0: it has not ended, or its client has no answer yet; -1: unknown.
local job = unpack(ARGV)
local state = redis.call('HGET', of_job(job), 'state')
if not state then return -1 end
if not is_final(state) or redis.call('ZSCORE', K.due, job) then return 0 end
for _, part in ipairs({'plan', 'segments', 'results', 'waiting'}) do
  redis.call('DEL', of_job(job, part))
end
redis.call('DEL', of_job(job))
redis.call('ZREM', K.jobs, job)
return 1
