-- gpu. Leaves the registry: readers find out by the number of GPUs.
local gpu = unpack(ARGV)
redis.call('ZREM', K.gpus, gpu)
redis.call('DEL', K.gpu .. gpu)
