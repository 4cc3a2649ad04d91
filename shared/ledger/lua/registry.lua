-- version -> {current version, number of GPUs, {gpu, status} of each GPU that sent a heartbeat after that version}.
local beats = {}
for _, gpu in ipairs(redis.call('ZRANGEBYSCORE', K.gpus, '(' .. ARGV[1], '+inf')) do
  beats[#beats + 1] = {gpu, redis.call('GET', K.gpu .. gpu)}
end
return {tonumber(redis.call('GET', K.gpus_version) or 0), redis.call('ZCARD', K.gpus), beats}
