-- job, state, now, due, error_type, error -> 1: this call ended the job; 0: it had ended before, or is to be cancelled
-- although its text is complete; -1: unknown.
local job, state, now, due, error_type, message = unpack(ARGV)
local was, ended = unpack(redis.call('HMGET', of_job(job), 'state', 'ended'))
if not was then return -1 end
if is_final(was) then return (was == state and ended == now) and 1 or 0 end
-- The client may have the transcript already: only `settle` knows. A job has one end, so it is too late to cancel.
if was == 'assembling' and state == 'cancelled' then return 0 end
end_job(job, state, now, due, error_type, message)
return 1
