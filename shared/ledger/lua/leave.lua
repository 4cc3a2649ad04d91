-- gpu, seconds. Leaves the registry: readers find out by the number of GPUs. Its last words stay for so long.
local gpu, seconds = unpack(ARGV)
local status = redis.call('GET', K.gpu .. gpu)
local moment = status and cjson.decode(status).heartbeat
if moment then
  redis.call('ZREMRANGEBYSCORE', K.left, '-inf', exact(moment - seconds))
  redis.call('ZADD', K.left, exact(moment), status)
  redis.call('EXPIRE', K.left, seconds)
end
redis.call('ZREM', K.gpus, gpu)
redis.call('DEL', K.gpu .. gpu)
