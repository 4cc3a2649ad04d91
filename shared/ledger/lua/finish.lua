-- job, segment, token, result, now, interval, due, the segment's text
-- -> {'ok', is last, is time to show, progress fields} or {refusal}.
local job, segment, token, result, now, interval, due, text = unpack(ARGV)
local fields = redis.call('HMGET', of_job(job), unpack(PROGRESS_FIELDS))
local record = read_segment(job, segment)
local no = refused(job, segment, token, fields[1], record)
if no then return {no} end
if record.state == 'done' then
  return {'ok', fields[1] == 'assembling' and 1 or 0, 1, fields}
end
if record.state ~= 'running' then return {'stale'} end
leave_gpu(job, segment, record)
fields[3] = tonumber(fields[3]) + 1
fields[5] = sum_of_seconds(tonumber(fields[5]) + tonumber(record.length) - tonumber(record.seconds))
record.state, record.seconds = 'done', record.length
write_segment(job, segment, record)
redis.call('HSET', of_job(job, 'results'), segment, result)
redis.call('HSET', of_job(job, 'text'), segment, text, segment .. '/done', 1)
if segment == '0' and is_held(job) then  -- it ended without reporting the language
  set_language(job, cjson.decode(result).language, nil, now)
end
count('segments_done/' .. record.gpu, 1)
count('audio_seconds/' .. record.gpu, record.length)
local windows = math.max(1, math.ceil(tonumber(record.length) / 30))
observe('window', record.gpu, (tonumber(now) - tonumber(record.started)) / windows, windows)
local last = fields[3] == tonumber(fields[2])
if last then
  fields[1] = 'assembling'
  redis.call('ZADD', K.due, due, job)
  redis.call('HDEL', of_job(job), 'claimed_by', 'claims_lost')  -- the claim for planning
end
local show = last or is_time_to_show(fields[7], now, interval)
redis.call('HSET', of_job(job), 'state', fields[1], 'done', fields[3], 'seconds_done', fields[5],
  'shown', show and now or fields[7])
return {'ok', last and 1 or 0, show and 1 or 0, fields}
