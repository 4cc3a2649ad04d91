-- job, now, retention, keep, then, if the job's end is to be sent to a webhook: event, data, url, target, owner, give_up
-- -> the state, if this call settled the job. Its client has the answer, so no step is due any more, and the record
-- expires. The webhook is added in the same step, so that a process that dies here cannot lose it.
local job, now, retention, keep, event, data, url, target, owner, give_up = unpack(ARGV)
local state = redis.call('HGET', of_job(job), 'state')
if not state then return end
if state == 'assembling' then
  state = 'done'
  redis.call('HSET', of_job(job), 'state', state, 'ended', now)
  count('jobs/' .. state, 1)
  local accepted, priority = unpack(redis.call('HMGET', of_job(job), 'accepted', 'priority'))
  observe('text', priority or '', tonumber(now) - tonumber(accepted or now), 1)
end
if not is_final(state) then return end
local settled = redis.call('ZREM', K.due, job)
redis.call('EXPIRE', of_job(job), retention)
for _, part in ipairs({'plan', 'segments', 'results', 'text'}) do
  redis.call('EXPIRE', of_job(job, part), keep)
end
if settled == 1 and event then
  add_webhook(event, 'job.' .. state, data, url, target, owner, now, give_up)
end
return settled == 1 and state or nil
