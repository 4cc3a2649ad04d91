-- gpu, seconds. Leaves the registry, which readers notice by the number of GPUs. The last status is kept for `seconds`.
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
