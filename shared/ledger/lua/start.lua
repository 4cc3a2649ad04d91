-- job, segment, token, gpu, now, deadline -> {'ok', request, plan, attempt, and of the job its language, its trace and
-- the time of its plan, or ''} or {refusal}.
-- A second delivery of the message is stale; a repetition of the same call, with the same `now`, is not.
local job, segment, token, gpu, now, deadline = unpack(ARGV)
local state, request, started, language, trace, planned, accepted =
  unpack(redis.call('HMGET', of_job(job), 'state', 'request', 'started', 'language', 'trace', 'planned', 'accepted'))
local record = read_segment(job, segment)
local no = refused(job, segment, token, state, record)
if no then return {no} end
if record.state ~= 'assigned' and not (record.state == 'running' and record.started == now) then
  return {'stale'}
end
if record.gpu ~= gpu then
  leave_gpu(job, segment, record)
  redis.call('SADD', K.active_gpus, gpu)
end
local plan = redis.call('HGET', of_job(job, 'plan'), segment)
local cut = cjson.decode(plan)
record.state, record.gpu, record.started = 'running', gpu, now
record.length, record.seconds = exact(cut['end'] - cut.start), '0'
write_segment(job, segment, record)
redis.call('ZADD', K.active .. gpu, deadline, segment .. ':' .. job)
if not started then
  redis.call('HSET', of_job(job), 'started', now)
  local priority = redis.call('HGET', of_job(job), 'priority')
  if accepted then observe('wait', priority or '', tonumber(now) - tonumber(accepted), 1) end
end
return {'ok', request, plan, record.attempt, language or '', trace or '', planned or accepted or ''}
