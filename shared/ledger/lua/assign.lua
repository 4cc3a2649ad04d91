-- job, now, deadline, then segment, gpu, token, slots of each -> 1 or 0 for each.
-- Two dispatchers may run at once: a segment that no longer waits and a GPU that is full are refused.
local job, now, deadline = unpack(ARGV, 1, 3)
local state, lane, member, seconds, priority, tenant =
  unpack(redis.call('HMGET', of_job(job), 'state', 'lane', 'queued_as', 'seconds', 'priority', 'tenant'))
local answers, asked = {}, {}
for i = 4, #ARGV, 4 do
  answers[#answers + 1] = 0
  asked[#asked + 1] = ARGV[i]
end
if state ~= 'running' then return answers end

local records = redis.call('HMGET', of_job(job, 'segments'), unpack(asked))
local load, taken, written, joined = {}, {}, {}, {}
for n = 1, #asked do
  local segment, gpu, token, slots = unpack(ARGV, 4 * n, 4 * n + 3)
  local record = records[n] and cjson.decode(records[n]) or {state = 'waiting', attempt = 1}
  load[gpu] = load[gpu] or redis.call('ZCARD', K.active .. gpu)
  if record.state == 'assigned' and record.token == token then
    answers[n] = 1
  elseif record.state == 'waiting' and load[gpu] < tonumber(slots) then
    answers[n] = 1
    if load[gpu] == 0 then redis.call('SADD', K.active_gpus, gpu) end
    load[gpu] = load[gpu] + 1
    taken[#taken + 1] = segment
    record.state, record.gpu, record.token, record.assigned = 'assigned', gpu, token, now
    written[#written + 1] = segment
    written[#written + 1] = cjson.encode(record)
    joined[gpu] = joined[gpu] or {}
    table.insert(joined[gpu], deadline)
    table.insert(joined[gpu], segment .. ':' .. job)
  end
end
if #taken == 0 then return answers end

redis.call('ZREM', of_job(job, 'waiting'), unpack(taken))
redis.call('HSET', of_job(job, 'segments'), unpack(written))
for gpu, members in pairs(joined) do
  redis.call('ZADD', K.active .. gpu, unpack(members))
end

local share = tonumber(seconds) * #taken
redis.call('ZINCRBY', K.lane .. lane, exact(share), member)
local tenants, own, jobs, waiting = clock_fields(priority, tenant)
local clock = redis.call('HMGET', K.clock, tenants, own, jobs, waiting)
local tenant_served = tonumber(clock[2] or 0)
-- Virtual time advances by the share divided by the number of waiting jobs, and never lags behind the whole lane.
local job_clock = tonumber(clock[3] or 0) + share / math.max(1, tonumber(clock[4] or 1))
redis.call('ZADD', K.lanes, now, lane)
if redis.call('EXISTS', of_job(job, 'waiting')) == 0 then leave_lane(job, lane, member) end
local first = redis.call('ZRANGE', K.lane .. lane, 0, 0, 'WITHSCORES')
if first[1] then
  local its_seconds = redis.call('HGET', of_job(string.match(first[1], '^[^:]*:(.*)$')), 'seconds')
  job_clock = math.max(job_clock, tonumber(first[2]) - tonumber(its_seconds))
end
redis.call('HSET', K.clock, tenants, exact(math.max(tonumber(clock[1] or 0), tenant_served)),
  own, exact(tenant_served + share), jobs, exact(job_clock))
return answers
