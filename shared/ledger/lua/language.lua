-- job, segment, token, language, probability, now -> {'ok', the job's language} or {refusal}.
-- The first language counts: that of an earlier attempt is returned, so that all segments have the same one.
local job, segment, token, language, probability, now = unpack(ARGV)
local record = read_segment(job, segment)
local no = refused(job, segment, token, redis.call('HGET', of_job(job), 'state'), record)
if no then return {no} end
if record.state ~= 'running' then return {'stale'} end
set_language(job, language, probability, now)
return {'ok', redis.call('HGET', of_job(job), 'language')}
