-- id, now, give_up -> 1: it is due now; 0: it is unknown. What is being sent right now stays with its sender.
local id, now, give_up = unpack(ARGV)
local target, created = unpack(redis.call('HMGET', K.webhook .. id, 'target', 'created'))
if not target then return 0 end
redis.call('HSET', K.webhook .. id, 'give_up', give_up)
redis.call('ZREM', K.webhooks_failed, id)
redis.call('ZADD', K.webhooks, created, id)
if not redis.call('ZSCORE', K.webhook_leased .. target, id) then
  redis.call('ZADD', K.webhook_due .. target, now, id)
end
redis.call('ZADD', K.webhook_targets, now, target)
return 1
