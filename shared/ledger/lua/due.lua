-- now, again, most -> {job, state, begun} of the jobs whose next step is overdue; each is due again at `again`.
-- A planned or deferred job that has expired before its first segment started is cancelled, and its next step is due at
-- once.
-- begun: 1 if an intake process had claimed the job. The expired claim is deleted, or the new due time would renew it.
-- The next step of a job whose plan is open is more planning, so its state is given as `accepted`.
local now, again, most = unpack(ARGV)
local found = {}

local function has_expired(job, now)
  local expires, started = unpack(redis.call('HMGET', of_job(job), 'expires', 'started'))
  return expires and not started and tonumber(expires) <= tonumber(now)
end

local function take_claim(job)
  local process = redis.call('HGET', of_job(job), 'claimed_by')
  if not process then return 0 end
  redis.call('HDEL', of_job(job), 'claimed_by')
  redis.call('HINCRBY', of_job(job), 'claims_lost', 1)
  leave_place(process)
  return 1
end

for _, job in ipairs(redis.call('ZRANGEBYSCORE', K.open, '-inf', now, 'LIMIT', 0, most)) do
  local state, open = unpack(redis.call('HMGET', of_job(job), 'state', 'open'))
  if state == 'running' and open then
    redis.call('ZADD', K.open, again, job)
    found[#found + 1] = {job, 'accepted', take_claim(job)}
  else
    redis.call('ZREM', K.open, job)
  end
end

for _, job in ipairs(redis.call('ZRANGEBYSCORE', K.due, '-inf', now, 'LIMIT', 0, most)) do
  local state, deferred = unpack(redis.call('HMGET', of_job(job), 'state', 'deferred'))
  if state and state ~= 'running' and not deferred then
    redis.call('ZADD', K.due, again, job)
    found[#found + 1] = {job, state, not is_final(state) and take_claim(job) or 0}
  elseif state and has_expired(job, now) then
    end_job(job, 'cancelled', now, again, 'JobCancelled', 'Job ' .. job .. ' expired before a GPU was free.')
    found[#found + 1] = {job, 'cancelled', 1}
  else
    redis.call('ZREM', K.due, job)
  end
end
return found
