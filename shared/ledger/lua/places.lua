-- now -> {tenant, how many of its files are being read, ...}, {tenant, the rank of its first deferred job, ...}
-- Forgets places that ran out.
local files, reading, deferred = {}, {}, {}
drop_places(ARGV[1])
for _, tenant in ipairs(redis.call('HVALS', K.reading_tenants)) do
  files[tenant] = (files[tenant] or 0) + 1
end
for tenant, count in pairs(files) do
  reading[#reading + 1] = tenant
  reading[#reading + 1] = count
end
for _, tenant in ipairs(redis.call('SMEMBERS', K.deferred_tenants)) do
  local first = redis.call('ZRANGE', K.deferred .. tenant, 0, 0, 'WITHSCORES')
  if first[1] then
    deferred[#deferred + 1] = tenant
    deferred[#deferred + 1] = first[2]
  end
end
return {reading, deferred}
