-- job, segment, token, now, counts, max_attempts, reason, due, error_type, error
-- -> {'waiting' | 'failed'} or {refusal}.
-- The segment waits again. If the attempt counts and was the last one allowed, the job fails instead.
local job, segment, token, now, counts, max_attempts, reason, due, error_type, message = unpack(ARGV)
local state, seconds_done = unpack(redis.call('HMGET', of_job(job), 'state', 'seconds_done'))
local record = read_segment(job, segment)
local no = refused(job, segment, token, state, record)
if no then return {no} end
if record.state ~= 'assigned' and record.state ~= 'running' then return {'stale'} end
leave_gpu(job, segment, record)
if counts == '1' then count('attempts_failed/' .. record.gpu, 1) end
redis.call('HSET', of_job(job), 'seconds_done', sum_of_seconds(tonumber(seconds_done) - tonumber(record.seconds or 0)))
if counts == '1' and record.attempt >= tonumber(max_attempts) then
  count('segments_failed/' .. record.gpu, 1)
  write_segment(job, segment, {state = 'failed', attempt = record.attempt, reason = reason})
  end_job(job, 'failed', now, due, error_type, message)
  return {'failed'}
end
local attempt = record.attempt + tonumber(counts)
write_segment(job, segment, {state = 'waiting', attempt = attempt, reason = reason})
redis.call('ZADD', of_job(job, 'waiting'), segment, segment)
join_lane(job, now)
-- The job was charged for the lost attempt. Without its share back, the segment would wait another turn of every job.
local lane, member, seconds = unpack(redis.call('HMGET', of_job(job), 'lane', 'queued_as', 'seconds'))
redis.call('ZINCRBY', K.lane .. lane, exact(-tonumber(seconds)), member)
return {'waiting'}
