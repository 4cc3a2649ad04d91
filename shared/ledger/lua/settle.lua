-- job, now, retention, keep -> the state, if this call settled the job. Its client has the answer, so no step is due
-- any more, and the record expires.
local job, now, retention, keep = unpack(ARGV)
local state = redis.call('HGET', of_job(job), 'state')
if not state then return end
if state == 'assembling' then
  state = 'done'
  redis.call('HSET', of_job(job), 'state', state, 'ended', now)
  count('jobs/' .. state, 1)
end
if not is_final(state) then return end
local settled = redis.call('ZREM', K.due, job)
redis.call('EXPIRE', of_job(job), retention)
for _, part in ipairs({'plan', 'segments', 'results'}) do
  redis.call('EXPIRE', of_job(job, part), keep)
end
return settled == 1 and state or nil
