-- job, segment, token, seconds, now, deadline, interval, the segment's text so far if it has changed
-- -> {'ok', is time to show, progress fields} or {refusal}.
local job, segment, token, seconds, now, deadline, interval, text = unpack(ARGV)
local fields = redis.call('HMGET', of_job(job), unpack(PROGRESS_FIELDS))
local record = read_segment(job, segment)
local no = refused(job, segment, token, fields[1], record)
if no then return {no} end
if record.state ~= 'running' then return {'stale'} end
fields[5] = sum_of_seconds(tonumber(fields[5]) + tonumber(seconds) - tonumber(record.seconds))
record.seconds = seconds
write_segment(job, segment, record)
redis.call('ZADD', K.active .. record.gpu, deadline, segment .. ':' .. job)
if text then redis.call('HSET', of_job(job, 'text'), segment, text) end
local show = is_time_to_show(fields[7], now, interval)
redis.call('HSET', of_job(job), 'seconds_done', fields[5], 'shown', show and now or fields[7])
return {'ok', show and 1 or 0, fields}
