-- -> {{priority, seconds of audio that wait}, ... by lane}, seconds of audio that GPUs have and have not transcribed.
local lanes = {}
for _, lane in ipairs(redis.call('ZRANGE', K.lanes, 0, -1)) do
  local seconds = 0
  for _, member in ipairs(redis.call('ZRANGE', K.lane .. lane, 0, -1)) do
    local job = string.match(member, '^[^:]*:(.*)$')
    local each = tonumber(redis.call('HGET', of_job(job), 'seconds') or 0)
    seconds = seconds + each * redis.call('ZCARD', of_job(job, 'waiting'))
  end
  lanes[#lanes + 1] = {cjson.decode(redis.call('HGET', K.lane_needs, lane)).priority, exact(seconds)}
end
local running = 0
for _, gpu in ipairs(redis.call('SMEMBERS', K.active_gpus)) do
  for _, member in ipairs(redis.call('ZRANGE', K.active .. gpu, 0, -1)) do
    local segment, job = string.match(member, '^(%d+):(.*)$')
    local record = read_segment(job, segment)
    running = running + math.max(0, (tonumber(record.length) or 0) - (tonumber(record.seconds) or 0))
  end
end
return {lanes, exact(running)}
