-- now -> the jobs whose segments are no longer held, because this call took the language from the first one's result.
-- A node of a version without `language.lua` finishes the first segment of a job and reports no language.
-- Reads at most 500 jobs, those first that were looked at longest ago.
local now = ARGV[1]
local released = {}
for _, job in ipairs(redis.call('ZRANGE', K.undetected, 0, 499)) do
  local state = redis.call('HGET', of_job(job), 'state')
  local result = redis.call('HGET', of_job(job, 'results'), '0')
  if not state or is_final(state) then
    redis.call('ZREM', K.undetected, job)
  elseif not result then
    redis.call('ZADD', K.undetected, now, job)
  elseif set_language(job, cjson.decode(result).language, nil, now) == 1 then
    released[#released + 1] = job
  end
end
return released
