-- Returns the messages of consumers that have died to the queues that they came from.
--
-- KEYS  1 unacked, 2 unacked index, 3 prefix of the hashes of owned messages, 4 consumers, 5 dead letters,
--       6 counter of dead letters, 7 returns, 8 looks: hash, when this script last ran, and since when without a gap
-- ARGV  1 seconds of silence after which a consumer is dead, 2 how often a message may lose its consumer,
--       3 how many messages are returned at most
-- Returns how many messages went back to their queues. One that lost its consumer too often becomes a dead letter:
-- it may be what kills them.
local unacked, index, prefix, consumers, dead, counter, returns, looks = unpack(KEYS)
local silence, patience, room = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = tonumber(clock[1])
local returned = 0

-- While Redis refused writes, no consumer could give a sign of life: silence counts only since the looks go on.
local last, since = unpack(redis.call('HMGET', looks, 'last', 'since'))
if not last or now - tonumber(last) > silence / 2 then since = now end
redis.call('HSET', looks, 'last', now, 'since', since)
if now - tonumber(since) < silence then return 0 end

local function give_up(list, tag, stored)
  local message = cjson.encode(cjson.decode(stored)[1])
  local reason = 'its consumer was lost ' .. patience .. ' times'
  add_dead_letter(dead, counter, dead_letter(list, reason, now, #stored, message))
  redis.call('HDEL', returns, tag)
end

-- The message inside '[message, "exchange", "key"]', byte for byte.
local function message_of(stored)
  local parts = cjson.decode(stored)
  local tail = ', ' .. cjson.encode(parts[2]) .. ', ' .. cjson.encode(parts[3]) .. ']'
  if stored:sub(-#tail) == tail then return stored:sub(2, -#tail - 1) end
  return cjson.encode(parts[1])
end

for _, consumer in ipairs(redis.call('ZRANGEBYSCORE', consumers, '-inf', now - silence)) do
  local owned = prefix .. consumer
  local tags = redis.call('HGETALL', owned)
  for at = 1, #tags, 2 do
    if returned >= room then return returned end
    local tag, list = tags[at], tags[at + 1]
    local stored = redis.call('HGET', unacked, tag)
    redis.call('HDEL', owned, tag)
    redis.call('HDEL', unacked, tag)
    redis.call('ZREM', index, tag)
    if stored then
      if redis.call('HINCRBY', returns, tag, 1) > patience then
        give_up(list, tag, stored)
      else
        redis.call('RPUSH', list, message_of(stored))
        returned = returned + 1
      end
    end
  end
  redis.call('ZREM', consumers, consumer)
end
return returned
