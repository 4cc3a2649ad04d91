-- heads -> for each lane: {id, since, need, tenant's share, {{queued_as, share, seconds, {segments}} ...}}.
-- Reads at most `heads` jobs per lane, and per job about as many segments as could be assigned.
local heads = tonumber(ARGV[1])
local lanes = redis.call('ZRANGE', K.lanes, 0, -1, 'WITHSCORES')
local seen = {}
for i = 1, #lanes, 2 do
  local lane = lanes[i]
  local members = redis.call('ZRANGE', K.lane .. lane, 0, heads - 1, 'WITHSCORES')
  local each = math.max(1, math.ceil(2 * heads / #members))
  local need = redis.call('HGET', K.lane_needs, lane)
  local known = cjson.decode(need)
  local _, own = clock_fields(known.priority, known.tenant)
  local jobs, total = {}, 0
  for j = 1, #members, 2 do
    local job = string.match(members[j], '^[^:]*:(.*)$')
    local waiting = redis.call('ZRANGE', of_job(job, 'waiting'), 0, each - 1)
    jobs[#jobs + 1] = {members[j], members[j + 1], redis.call('HGET', of_job(job), 'seconds'), waiting}
    total = total + #waiting
  end
  for _, head in ipairs(jobs) do  -- short jobs leave room, which a long one can fill
    if total >= heads then break end
    if #head[4] == each then
      local job = string.match(head[1], '^[^:]*:(.*)$')
      head[4] = redis.call('ZRANGE', of_job(job, 'waiting'), 0, heads - 1)
      total = total + #head[4] - each
    end
  end
  seen[#seen + 1] = {lane, lanes[i + 1], need, redis.call('HGET', K.clock, own) or '0', jobs}
end
return seen
