-- job, result key, meta, expires -> 1: stored; 0: the job has ended, and its answer must not be overwritten, or its
-- client ignores the result, and the progress would stay there for ever.
local job, key, meta, expires = unpack(ARGV)
local state, ignored = unpack(redis.call('HMGET', of_job(job), 'state', 'ignore_result'))
if not state or ignored or is_final(state) then return 0 end
if state == 'assembling' then
  local stored = redis.call('GET', key)
  if stored and cjson.decode(stored).status ~= 'PROGRESS' then return 0 end
end
redis.call('SETEX', key, expires, meta)
redis.call('PUBLISH', key, meta)
return 1
