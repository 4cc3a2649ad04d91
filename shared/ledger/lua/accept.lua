-- job, request, now, due, continuation ('' for none), then names and values of further fields of the record
-- -> 1: accepted, 0: already known. A job that was entered before its message came gets the message's continuation.
local job, request, now, due, continuation = unpack(ARGV, 1, 5)
local known, state, continued = unpack(redis.call('HMGET', of_job(job), 'accepted', 'state', 'continuation'))
if known then
  if continuation ~= '' and not continued and not is_final(state) then
    redis.call('HSET', of_job(job), 'continuation', continuation)
  end
  return known == now and 1 or 0
end
redis.call('HSET', of_job(job), 'state', 'accepted', 'request', request, 'accepted', now)
if #ARGV > 5 then redis.call('HSET', of_job(job), unpack(ARGV, 6)) end
if continuation ~= '' then redis.call('HSET', of_job(job), 'continuation', continuation) end
redis.call('DEL', of_job(job, 'deleted'))
redis.call('ZADD', K.jobs, now, job)
redis.call('ZADD', K.due, due, job)
return 1
