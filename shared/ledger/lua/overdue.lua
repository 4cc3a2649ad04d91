-- gpu, now ('+inf' for a dead GPU) -> {segment, job, token, state} of each segment that it should have started, or
-- reported progress of, by now. Deletes entries of segments that it no longer has.
local gpu, now = unpack(ARGV)
local found = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', K.active .. gpu, '-inf', now)) do
  local segment, job = string.match(member, '^(%d+):(.*)$')
  local record = read_segment(job, segment)
  local state = redis.call('HGET', of_job(job), 'state')
  local live = record.gpu == gpu and (record.state == 'assigned' or record.state == 'running')
  if live and state and not is_final(state) then
    found[#found + 1] = {segment, job, record.token, record.state}
  else
    redis.call('ZREM', K.active .. gpu, member)
  end
end
if redis.call('EXISTS', K.active .. gpu) == 0 then redis.call('SREM', K.active_gpus, gpu) end
return found
