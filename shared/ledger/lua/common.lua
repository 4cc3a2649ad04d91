-- The common part of every script of the ledger. In front of it stands `K`, the key names of shared/ledger/keys.py.
-- Times are passed on as the strings they came as, so that no precision is lost; virtual times are written with %.17g.
-- A segment's record has: state, attempt, token, gpu, started (the `now` of its start), length and seconds (of audio).

-- Clients choose job ids, and `x:plan` must not be the plan of `x`. shared/ledger/keys.py escapes them likewise.
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

-- Rounded to steps finer than an audio sample, so that adding and subtracting the same seconds leaves exactly 0.
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
  return 'tenants/' .. priority, 'tenant/' .. class, 'jobs/' .. class, 'waiting/' .. class, 'idle/' .. class
end

-- A job joins its lane at the current virtual time, so that no tenant saves up shares while it is idle. Jobs are
-- ordered by the virtual time at which their next segment ends, so that a clip does not wait behind long segments.
local function join_lane(job, now)
  local lane, member, need, priority, tenant, served, seconds = unpack(
    redis.call('HMGET', of_job(job), 'lane', 'queued_as', 'need', 'priority', 'tenant', 'served', 'seconds'))
  local tenants, own, jobs, waiting, idle = clock_fields(priority, tenant)
  local clock = redis.call('HMGET', K.clock, tenants, own, jobs)
  local start = math.max(tonumber(served or 0), tonumber(clock[3] or 0) + tonumber(seconds))
  redis.call('HSET', K.clock, own, exact(math.max(tonumber(clock[1] or 0), tonumber(clock[2] or 0))))
  if redis.call('ZADD', K.lane .. lane, 'NX', exact(start), member) == 1 then
    redis.call('HINCRBY', K.clock, waiting, 1)
    redis.call('HDEL', K.clock, idle)
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

-- Adds to a counter of the fleet's metrics.
local function count(what, by)
  redis.call('HINCRBYFLOAT', K.counts, what, by)
end

-- Counts a duration in the histogram `name` of one label: bucket i holds what is at most 2^i milliseconds, see
-- scheduler/monitoring/histograms.py.
local function observe(name, label, seconds, times)
  local bucket = math.max(0, math.ceil(math.log(math.max(seconds, 0.001) / 0.001) / math.log(2) - 1e-9))
  local prefix = 'histogram/' .. name .. '/' .. label .. '/'
  count(prefix .. math.min(bucket, 28), times)
  count(prefix .. 'sum', exact(seconds * times))
end

-- Adds the segments from number `first` on to a plan: those in ARGV from `at` to its end. Those up to `last_waiting`
-- wait for GPUs.
local function add_segments(job, first, at, last_waiting)
  for start = at, #ARGV, 1000 do
    local plans, waiting = {}, {}
    for i = start, math.min(start + 999, #ARGV) do
      local index = first + i - at
      plans[#plans + 1] = index
      plans[#plans + 1] = ARGV[i]
      if index <= last_waiting then
        waiting[#waiting + 1] = index
        waiting[#waiting + 1] = index
      end
    end
    redis.call('HSET', of_job(job, 'plan'), unpack(plans))
    if #waiting > 0 then redis.call('ZADD', of_job(job, 'waiting'), unpack(waiting)) end
  end
end

-- A plan is open while intake decodes the file. It has no `total` then, so that no version's scripts take the job for
-- complete. An open plan that nobody decodes is parked.
local function unpark(job)
  local priority, tenant = unpack(redis.call('HMGET', of_job(job), 'priority', 'tenant'))
  if not priority then return end
  local class = priority .. '/' .. tenant
  redis.call('ZREM', K.parked .. class, job)
  if redis.call('EXISTS', K.parked .. class) == 0 then redis.call('ZREM', K.parked_classes, class) end
end

-- A deferred job waits until one more file of its tenant may be read; the field `deferred` is the tenant.
local function undefer(job, tenant)
  redis.call('HDEL', of_job(job), 'deferred')
  redis.call('ZREM', K.deferred .. tenant, job)
  if redis.call('EXISTS', K.deferred .. tenant) == 0 then redis.call('SREM', K.deferred_tenants, tenant) end
end

-- A place is held by a process of intake that reads a file, or kept as `job/...` for a job that is to be read next.
local function enter_place(holder, tenant, now, lease_end)
  redis.call('ZADD', K.reading, lease_end, holder)
  redis.call('HSET', K.reading_tenants, holder, now .. ' ' .. tenant)
end

-- Returns for each place since when it is held, and the tenant.
local function held_places()
  local held = {}
  for i, place in ipairs(redis.call('HVALS', K.reading_tenants)) do
    local since, tenant = string.match(place, '^(%S+) (.*)$')
    held[i] = {since = tonumber(since), tenant = tenant}
  end
  return held
end

local function leave_place(holder)
  redis.call('ZREM', K.reading, holder)
  redis.call('HDEL', K.reading_tenants, holder)
end

local function drop_places(now)
  for _, holder in ipairs(redis.call('ZRANGEBYSCORE', K.reading, '-inf', now)) do leave_place(holder) end
end

-- Whether one more file of a tenant may be read: see Share in scheduler/intake/places/share.py.
local function may_read(tenant, now, own, total, places)
  drop_places(now)
  local mine, all = 0, 0
  for _, place in ipairs(held_places()) do
    all = all + 1
    if place.tenant == tenant then mine = mine + 1 end
  end
  return all < tonumber(places) and (mine == 0 or (mine < tonumber(own) and all < tonumber(total)))
end

-- Where the first segment has to find the job's language, the others are held until it is known. An open plan is held
-- by another field, because scripts of older versions release only plans that are complete.
local function hold_segments(job, now, field)
  redis.call('HSET', of_job(job), field, 1)
  redis.call('ZADD', K.undetected, now, job)
end

local function is_held(job)
  return redis.call('HEXISTS', of_job(job), 'held') + redis.call('HEXISTS', of_job(job), 'held_open') > 0
end

-- Lets the segments from number `first` on wait for GPUs, which were held until now.
local function release_segments(job, first, now)
  redis.call('HDEL', of_job(job), 'held', 'held_open')
  local total = redis.call('HLEN', of_job(job, 'plan'))
  for start = first, total - 1, 1000 do
    local waiting = {}
    for index = start, math.min(start + 1000, total) - 1 do
      waiting[#waiting + 1] = index
      waiting[#waiting + 1] = index
    end
    redis.call('ZADD', of_job(job, 'waiting'), unpack(waiting))
  end
  if total > first then join_lane(job, now) end
end

-- The first language counts. Segments that were held for it wait for GPUs from now on.
local function set_language(job, language, probability, now)
  if redis.call('HSETNX', of_job(job), 'language', language) == 1 and probability then
    redis.call('HSET', of_job(job), 'language_probability', probability)
  end
  redis.call('ZREM', K.undetected, job)
  if not is_held(job) then return 0 end
  release_segments(job, 1, now)
  return 1
end

-- Slots that still run a segment of the job are refused at their next report.
local function end_job(job, state, now, due, error_type, message)
  count('jobs/' .. state, 1)
  redis.call('HSET', of_job(job), 'state', state, 'ended', now, 'error_type', error_type, 'error', message)
  local lane = redis.call('HMGET', of_job(job), 'lane', 'queued_as')
  if lane[1] then leave_lane(job, lane[1], lane[2]) end
  redis.call('DEL', of_job(job, 'waiting'))
  redis.call('ZREM', K.undetected, job)
  local deferred = redis.call('HGET', of_job(job), 'deferred')
  if deferred then undefer(job, deferred) end
  if redis.call('HDEL', of_job(job), 'open') == 1 then
    redis.call('ZREM', K.open, job)
    unpark(job)
  end
  redis.call('ZADD', K.due, due, job)
end

-- Returns why a slot's report is refused, or nil: it counts only if the slot still has the segment.
local function refused(job, segment, token, state, record)
  if not state then return 'unknown' end
  if is_final(state) then
    if record.token == token then leave_gpu(job, segment, record) end
    return 'over'
  end
  if record.token ~= token then return 'stale' end
end

-- The fields of a job that progress is made of, in the order in which records.progress_from reads them; `shown` is
-- when the client was last shown some.
local PROGRESS_FIELDS = {'state', 'total', 'done', 'duration', 'seconds_done', 'started', 'shown', 'warnings'}

local function is_time_to_show(shown, now, interval)
  return not shown or tonumber(now) - tonumber(shown) >= tonumber(interval)
end

-- Of the deliveries to one server, this many are made at a time, and one while its last answer was an error: a server
-- that is slow or down must not hold all senders.
local function may_claim_webhook(target, most)
  local limit = redis.call('HEXISTS', K.webhook_failing, target) == 1 and 1 or tonumber(most)
  return redis.call('ZCARD', K.webhook_leased .. target) < limit
end

-- Sets when the deliveries of a server are to be looked at next. A server that was just served goes behind the others.
local function look_at_target(target, now, most)
  local first = may_claim_webhook(target, most) and redis.call('ZRANGE', K.webhook_due .. target, 0, 0, 'WITHSCORES')[2]
  local lease = redis.call('ZRANGE', K.webhook_leased .. target, 0, 0, 'WITHSCORES')[2]
  if first and lease then first = math.min(tonumber(first), tonumber(lease)) end
  local moment = tonumber(first or lease)
  if moment then
    redis.call('ZADD', K.webhook_targets, exact(math.max(moment, tonumber(now))), target)
  else
    redis.call('ZREM', K.webhook_targets, target)
    redis.call('HDEL', K.webhook_failing, target)
  end
end

-- Lets an event be delivered; returns 0 if it already waits.
local function add_webhook(id, kind, data, url, target, owner, created, give_up)
  if redis.call('EXISTS', K.webhook .. id) == 1 then return 0 end
  redis.call('HSET', K.webhook .. id, 'type', kind, 'data', data, 'url', url, 'target', target, 'owner', owner,
    'created', created, 'give_up', give_up)
  redis.call('ZADD', K.webhooks, created, id)
  redis.call('ZADD', K.webhook_due .. target, created, id)
  local look = redis.call('ZSCORE', K.webhook_targets, target)
  if not look or tonumber(look) > tonumber(created) then
    redis.call('ZADD', K.webhook_targets, created, target)
  end
  return 1
end
