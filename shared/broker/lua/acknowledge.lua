-- Forgets a received message, unless another consumer has it by now.
--
-- KEYS  1 unacked, 2 unacked index, 3 owned, 4 returns: hash, delivery tag -> how often its consumer was lost
-- ARGV  1 the delivery tag
-- Returns 1 when it was ours.
local unacked, index, owned, returns = unpack(KEYS)
local tag = ARGV[1]
if redis.call('HDEL', owned, tag) == 0 then return 0 end
redis.call('HDEL', unacked, tag)
redis.call('ZREM', index, tag)
redis.call('HDEL', returns, tag)
return 1
