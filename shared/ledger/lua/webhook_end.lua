-- id, token, now, outcome (delivered, later, undeliverable), due, error, most per target -> 1: ended by this call;
-- 0: another process has claimed it since, or it has ended.
local id, token, now, outcome, due, message, most = unpack(ARGV)
local known, target = unpack(redis.call('HMGET', K.webhook .. id, 'token', 'target'))
if known ~= token then return 0 end
redis.call('ZREM', K.webhook_leased .. target, id)
redis.call('ZREM', K.webhook_due .. target, id)
redis.call('HSET', K.webhook .. id, 'error', message, 'token', '')
if outcome == 'delivered' then
  redis.call('DEL', K.webhook .. id)
  redis.call('ZREM', K.webhooks, id)
  redis.call('HDEL', K.webhook_failing, target)
else
  redis.call('HSET', K.webhook_failing, target, now)
end
if outcome == 'later' then
  redis.call('ZADD', K.webhook_due .. target, due, id)
elseif outcome == 'undeliverable' then
  redis.call('ZREM', K.webhooks, id)
  redis.call('ZADD', K.webhooks_failed, now, id)
end
count('webhooks/' .. outcome, 1)
look_at_target(target, now, most)
return 1
