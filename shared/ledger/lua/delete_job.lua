-- job -> 1: deleted; 0: it has not ended, its client has no answer yet, or a slot still works on it; -1: unknown.
local job = ARGV[1]
local state = redis.call('HGET', of_job(job), 'state')
if not state then return -1 end
if not is_final(state) or redis.call('ZSCORE', K.due, job) then return 0 end
for _, gpu in ipairs(redis.call('SMEMBERS', K.active_gpus)) do
  for _, member in ipairs(redis.call('ZRANGE', K.active .. gpu, 0, -1)) do
    if string.match(member, '^%d+:(.*)$') == job then return 0 end
  end
end
if not redis.call('HGET', of_job(job), 'planned') then
  redis.call('SET', of_job(job, 'deleted'), 1, 'EX', 86400)  -- intake may not have taken its message yet
end
for _, part in ipairs({'plan', 'segments', 'results', 'waiting', 'text'}) do
  redis.call('DEL', of_job(job, part))
end
redis.call('DEL', of_job(job))
redis.call('ZREM', K.jobs, job)
return 1
