-- now, until, token, most per target, targets to look at -> {id, fields} of a delivery that is due, now claimed until
-- `until`, or nothing. Targets are looked at in turn.
local now, till, token, most, looks = unpack(ARGV)
for _, target in ipairs(redis.call('ZRANGEBYSCORE', K.webhook_targets, '-inf', now, 'LIMIT', 0, looks)) do
  local due, leased = K.webhook_due .. target, K.webhook_leased .. target
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', leased, '-inf', now)) do  -- the process that claimed it is gone
    redis.call('ZREM', leased, id)
    redis.call('ZADD', due, now, id)
  end
  local id = may_claim_webhook(target, most) and redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, 1)[1]
  if id then
    redis.call('ZREM', due, id)
    if redis.call('EXISTS', K.webhook .. id) == 1 then
      redis.call('ZADD', leased, till, id)
      redis.call('HSET', K.webhook .. id, 'token', token)
      redis.call('HINCRBY', K.webhook .. id, 'attempts', 1)
    end
  end
  look_at_target(target, now, most)
  local fields = id and redis.call('HGETALL', K.webhook .. id)
  if fields and #fields > 0 then return {id, fields} end
end
