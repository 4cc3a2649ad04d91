-- gpu, status. Joins the registry or renews; its version tells readers what they have not read yet.
local gpu, status = unpack(ARGV)
redis.call('ZADD', K.gpus, redis.call('INCR', K.gpus_version), gpu)
redis.call('SET', K.gpu .. gpu, status)
