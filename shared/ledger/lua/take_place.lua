-- process, job, tenant, now, until, own, total, places -> 1: the process has a place to read a file until then; 0: none.
-- A place that `next_deferred` kept for the job becomes the process'.
local process, job, tenant, now, lease_end, own, total, places = unpack(ARGV)
leave_place('job/' .. job)
leave_place(process)
if not may_read(tenant, now, own, total, places) then return 0 end
enter_place(process, tenant, now, lease_end)
return 1
