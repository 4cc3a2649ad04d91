-- now -> {tenant, since when one of its files is being read, ...}, {tenant, the rank of its first deferred job, ...}
-- Forgets places that ran out.
local reading, deferred = {}, {}
drop_places(ARGV[1])
for _, place in ipairs(held_places()) do
  reading[#reading + 1] = place.tenant
  reading[#reading + 1] = exact(place.since)
end
for _, tenant in ipairs(redis.call('SMEMBERS', K.deferred_tenants)) do
  local first = redis.call('ZRANGE', K.deferred .. tenant, 0, 0, 'WITHSCORES')
  if first[1] then
    deferred[#deferred + 1] = tenant
    deferred[#deferred + 1] = first[2]
  end
end
return {reading, deferred}
