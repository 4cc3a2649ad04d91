-- -> for each lane: {priority, waiting jobs, their waiting segments}.
local depth = {}
for _, lane in ipairs(redis.call('ZRANGE', K.lanes, 0, -1)) do
  local segments = 0
  local members = redis.call('ZRANGE', K.lane .. lane, 0, -1)
  for _, member in ipairs(members) do
    segments = segments + redis.call('ZCARD', of_job(string.match(member, '^[^:]*:(.*)$'), 'waiting'))
  end
  depth[#depth + 1] = {cjson.decode(redis.call('HGET', K.lane_needs, lane)).priority, #members, segments}
end
return depth
