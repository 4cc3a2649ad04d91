-- now, due, most, unfinished, tenants to pass over ... -> parked jobs that have at most `unfinished` segments that are
-- not done: up to `most`, less those that were resumed before and are not claimed yet. They are parked no longer;
-- recovery finds those that no process has claimed by `due`.
-- The most urgent priority first; within it the tenant of which the fewest files are being decoded, then the oldest job.
local now, due, most, unfinished = unpack(ARGV, 1, 4)

local function class_of(job)
  local priority, tenant = unpack(redis.call('HMGET', of_job(job), 'priority', 'tenant'))
  return (priority or '') .. '/' .. (tenant or '')
end

local decoding, classes = {}, {}
most = tonumber(most)
for _, job in ipairs(redis.call('ZRANGE', K.open, 0, -1)) do
  local class = class_of(job)
  decoding[class] = (decoding[class] or 0) + 1
  most = most - 1 + redis.call('HEXISTS', of_job(job), 'claimed_by')
end
local entries = redis.call('ZRANGE', K.parked_classes, 0, -1, 'WITHSCORES')
local is_passed_over = {}
for i = 5, #ARGV do is_passed_over[ARGV[i]] = true end
for i = 1, #entries, 2 do
  local tenant = string.match(entries[i], '^[^/]*/(.*)$')
  if not is_passed_over[tenant] then
    classes[#classes + 1] = {name = entries[i], priority = tonumber(entries[i + 1])}
  end
end

-- A plan whose segments are held though an older version's script stored the language is released on the way.
local function is_ready(job)
  local state, open, done, held, language =
    unpack(redis.call('HMGET', of_job(job), 'state', 'open', 'done', 'held_open', 'language'))
  if state ~= 'running' or not open then return nil end
  if held and language then release_segments(job, 1, now) end
  return redis.call('HLEN', of_job(job, 'plan')) - tonumber(done) <= tonumber(unfinished)
end

local function first_ready(class)
  for _, job in ipairs(redis.call('ZRANGE', K.parked .. class, 0, 99)) do
    local ready = is_ready(job)
    if ready ~= false then redis.call('ZREM', K.parked .. class, job) end
    if ready then return job end
  end
end

local resumed = {}
while #resumed < most and #classes > 0 do
  table.sort(classes, function(a, b)
    if a.priority ~= b.priority then return a.priority < b.priority end
    local of_a, of_b = decoding[a.name] or 0, decoding[b.name] or 0
    if of_a ~= of_b then return of_a < of_b end
    return a.name < b.name
  end)
  local class = classes[1].name
  local job = first_ready(class)
  if redis.call('EXISTS', K.parked .. class) == 0 then redis.call('ZREM', K.parked_classes, class) end
  if job then
    redis.call('ZADD', K.open, due, job)
    decoding[class] = (decoding[class] or 0) + 1
    resumed[#resumed + 1] = job
  else
    table.remove(classes, 1)
  end
end
return resumed
