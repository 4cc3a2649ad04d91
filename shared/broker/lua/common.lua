-- The common part of every script of the broker.

-- Stores a dead letter, as JSON; the newest thousand are kept. Returns its number.
local function add_dead_letter(dead, counter, letter)
  local number = redis.call('INCR', counter)
  redis.call('HSET', dead, number, letter)
  redis.call('HDEL', dead, number - 1000)
  return number
end

-- Returns a dead letter as JSON, with the beginning of its message. shared/broker/dead_letters.py writes the same.
local function dead_letter(list, reason, at, size, message)
  return cjson.encode({queue = list, reason = reason, at = at, size = size, message = message})
end
