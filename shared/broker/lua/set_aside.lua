-- Turns a received message into a dead letter.
--
-- KEYS  1 unacked, 2 unacked index, 3 owned, 4 returns, 5 dead letters, 6 counter of dead letters
-- ARGV  1 the delivery tag, 2 the dead letter as JSON
-- Returns the number of the dead letter, or 0 when the message was not ours any more.
local unacked, index, owned, returns, dead, counter = unpack(KEYS)
local tag, letter = ARGV[1], ARGV[2]
if redis.call('HDEL', owned, tag) == 0 then return 0 end
redis.call('HDEL', unacked, tag)
redis.call('ZREM', index, tag)
redis.call('HDEL', returns, tag)
return add_dead_letter(dead, counter, letter)
