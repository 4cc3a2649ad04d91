-- tenant, now, until, own, total, places -> the tenant's first deferred job that still is to be planned; nil if there is
-- none, or no place for it. It is deferred no longer, due then, and has a place until then.
local tenant, now, lease_end, own, total, places = unpack(ARGV)
if not may_read(tenant, now, own, total, places) then return nil end
while true do
  local job = redis.call('ZRANGE', K.deferred .. tenant, 0, 0)[1]
  if not job then
    redis.call('SREM', K.deferred_tenants, tenant)
    return nil
  end
  undefer(job, tenant)
  if redis.call('HGET', of_job(job), 'state') == 'accepted' then
    redis.call('ZADD', K.due, lease_end, job)
    enter_place('job/' .. job, tenant, now, lease_end)
    return job
  end
end
