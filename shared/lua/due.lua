-- now, again, most -> {job, state} of those whose next step should have come by now; each is due again at `again`.
local now, again, most = unpack(ARGV)
local found = {}
for _, job in ipairs(redis.call('ZRANGEBYSCORE', K.due, '-inf', now, 'LIMIT', 0, most)) do
  local state = redis.call('HGET', of_job(job), 'state')
  if state and state ~= 'running' then
    redis.call('ZADD', K.due, again, job)
    found[#found + 1] = {job, state}
  else
    redis.call('ZREM', K.due, job)
  end
end
return found
