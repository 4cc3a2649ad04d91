-- Every script of the ledger begins with this; before it stands `K`, the key names of shared/ledger/keys.py.
-- Moments and lengths stay strings, so that no precision is lost; virtual times are written with %.17g.
-- A segment's record: state, attempt, token, gpu, started (now of its start), length and seconds (of audio).

-- Clients choose ids, also `x:plan`: escaped as in shared/ledger/keys.py.
local function of_job(job, part)
  local name = string.gsub(job, '[%%:]', {['%'] = '%25', [':'] = '%3A'})
  return K.job .. name .. (part and ':' .. part or '')
end

local function is_final(state)
  return state == 'done' or state == 'failed' or state == 'cancelled'
end

local function exact(number)
  return string.format('%.17g', number)
end

-- A sum of seconds in steps finer than a sample: what is added and taken away again leaves exactly nothing.
local function sum_of_seconds(number)
  return string.format('%.7f', number)
end

local function read_segment(job, segment)
  local record = redis.call('HGET', of_job(job, 'segments'), segment)
  return record and cjson.decode(record) or {state = 'waiting', attempt = 1}
end

local function write_segment(job, segment, record)
  redis.call('HSET', of_job(job, 'segments'), segment, cjson.encode(record))
end

local function leave_gpu(job, segment, record)
  if record.gpu then
    redis.call('ZREM', K.active .. record.gpu, segment .. ':' .. job)
  end
end

local function clock_fields(priority, tenant)
  local class = priority .. '/' .. tenant
  return 'tenants/' .. priority, 'tenant/' .. class, 'jobs/' .. class, 'waiting/' .. class
end

-- A job joins its lane at the clock of those being served, so nobody saves up shares by staying away. Its place
-- is where its next segment will end in virtual time, so that a clip is not behind others' long segments.
local function join_lane(job, now)
  local lane, member, need, priority, tenant, served, seconds = unpack(
    redis.call('HMGET', of_job(job), 'lane', 'queued_as', 'need', 'priority', 'tenant', 'served', 'seconds'))
  local tenants, own, jobs, waiting = clock_fields(priority, tenant)
  local clock = redis.call('HMGET', K.clock, tenants, own, jobs)
  local start = math.max(tonumber(served or 0), tonumber(clock[3] or 0) + tonumber(seconds))
  redis.call('HSET', K.clock, own, exact(math.max(tonumber(clock[1] or 0), tonumber(clock[2] or 0))))
  if redis.call('ZADD', K.lane .. lane, 'NX', exact(start), member) == 1 then
    redis.call('HINCRBY', K.clock, waiting, 1)
  end
  redis.call('ZADD', K.lanes, 'NX', now, lane)
  redis.call('HSET', K.lane_needs, lane, need)
end

local function leave_lane(job, lane, member)
  local served = redis.call('ZSCORE', K.lane .. lane, member)
  if not served then return end
  redis.call('HSET', of_job(job), 'served', served)
  redis.call('ZREM', K.lane .. lane, member)
  local _, _, _, waiting = clock_fields(unpack(redis.call('HMGET', of_job(job), 'priority', 'tenant')))
  redis.call('HINCRBY', K.clock, waiting, -1)
  if redis.call('EXISTS', K.lane .. lane) == 0 then
    redis.call('ZREM', K.lanes, lane)
    redis.call('HDEL', K.lane_needs, lane)
  end
end

-- What the fleet ever did, for its metrics.
local function count(what, by)
  redis.call('HINCRBYFLOAT', K.counts, what, by)
end

-- Slots that still run a segment of an ended job learn of it when they next ask.
local function end_job(job, state, now, due, error_type, message)
  count('jobs/' .. state, 1)
  redis.call('HSET', of_job(job), 'state', state, 'ended', now, 'error_type', error_type, 'error', message)
  local lane = redis.call('HMGET', of_job(job), 'lane', 'queued_as')
  if lane[1] then leave_lane(job, lane[1], lane[2]) end
  redis.call('DEL', of_job(job, 'waiting'))
  redis.call('ZADD', K.due, due, job)
end

-- What a slot says only counts if the segment is still its own: nil, or the word that refuses it.
local function refused(job, segment, token, state, record)
  if not state then return 'unknown' end
  if is_final(state) then
    if record.token == token then leave_gpu(job, segment, record) end
    return 'over'
  end
  if record.token ~= token then return 'stale' end
end

-- What a client may see of a job, as Ledger reads it; `shown` is set when it is time to show it again.
local PROGRESS_FIELDS = {'state', 'total', 'done', 'duration', 'seconds_done', 'started', 'shown'}

local function is_time_to_show(shown, now, interval)
  return not shown or tonumber(now) - tonumber(shown) >= tonumber(interval)
end
