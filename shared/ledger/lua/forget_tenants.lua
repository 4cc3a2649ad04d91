-- now, seconds. Removes tenants from the clock, of which nothing has waited for that long; the first call that sees one
-- idle notes the time. A tenant that is ahead of its class keeps its place while others of the class wait.
local now, seconds = unpack(ARGV)
local values, is_busy = {}, {}
local fields = redis.call('HGETALL', K.clock)
for i = 1, #fields, 2 do
  values[fields[i]] = fields[i + 1]
  local priority = string.match(fields[i], '^waiting/(%d+)/')
  if priority and tonumber(fields[i + 1]) > 0 then is_busy[priority] = true end
end
local forgotten = 0
for field, value in pairs(values) do
  local priority, tenant = string.match(field, '^waiting/(%d+)/(.*)$')
  if priority and tonumber(value) <= 0 then
    local tenants, own, jobs, waiting, idle = clock_fields(priority, tenant)
    local is_ahead = tonumber(values[own] or 0) > tonumber(values[tenants] or 0)
    if not values[idle] then
      redis.call('HSET', K.clock, idle, now)
    elseif tonumber(now) - tonumber(values[idle]) >= tonumber(seconds) and not (is_ahead and is_busy[priority]) then
      redis.call('HDEL', K.clock, own, jobs, waiting, idle)
      forgotten = forgotten + 1
    end
  end
end
return forgotten
