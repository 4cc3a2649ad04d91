-- gpu, status. Joins the registry, or renews the status. Readers compare versions to find what they have not read.
local gpu, status = unpack(ARGV)
redis.call('ZADD', K.gpus, redis.call('INCR', K.gpus_version), gpu)
redis.call('SET', K.gpu .. gpu, status)
