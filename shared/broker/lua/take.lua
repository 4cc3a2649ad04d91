-- Moves the next message from a queue to the messages that are received and not acknowledged yet.
--
-- KEYS  1 unacked: hash, delivery tag -> [message, exchange, routing key] as JSON, the format of kombu
--       2 unacked index: zset, delivery tag -> when it was received
--       3 owned: hash of this consumer, delivery tag -> the list that its message came from
--       4 consumers: zset, consumer -> its last sign of life, by the clock of Redis
--       5 dead letters: hash, number -> what is set aside, as JSON
--       6 counter of dead letters
--       7... the lists to take from, most urgent first
-- ARGV  1 the consumer, 2 how many bytes a message may have
-- Returns {list, message}, or false when every list is empty. A message whose envelope or delivery tag cannot be read
-- becomes a dead letter, and the next one is taken.
local unacked, index, owned, consumers, dead, counter = unpack(KEYS, 1, 6)
local consumer, limit = ARGV[1], tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = clock[1] .. '.' .. string.format('%06d', clock[2])

local function text_or_nil(value)
  if type(value) == 'string' then return value end
end

local function set_aside(list, message, reason)
  add_dead_letter(dead, counter, dead_letter(list, reason, tonumber(now), #message, message:sub(1, limit)))
end

local function envelope_of(message)
  if #message > limit then return nil, 'it has ' .. #message .. ' bytes, more than ' .. limit end
  local is_json, envelope = pcall(cjson.decode, message)
  if not is_json or type(envelope) ~= 'table' then return nil, 'it is not a JSON object' end
  local properties = envelope.properties
  if type(properties) ~= 'table' then return nil, 'it has no properties' end
  local tag = text_or_nil(properties.delivery_tag)
  if not tag or #tag == 0 or #tag > 255 or tag:find('[^!-~]') then
    return nil, 'it has no delivery tag of 1 to 255 printable characters'
  end
  return properties
end

for number = 7, #KEYS do
  local list = KEYS[number]
  while true do
    local message = redis.call('RPOP', list)
    if not message then break end
    local properties, problem = envelope_of(message)
    if properties then
      local info = type(properties.delivery_info) == 'table' and properties.delivery_info or {}
      local exchange, key = text_or_nil(info.exchange) or '', text_or_nil(info.routing_key) or ''
      local tag = properties.delivery_tag
      local stored = '[' .. message .. ', ' .. cjson.encode(exchange) .. ', ' .. cjson.encode(key) .. ']'
      redis.call('HSET', unacked, tag, stored)
      redis.call('ZADD', index, now, tag)
      redis.call('HSET', owned, tag, list)
      redis.call('ZADD', consumers, now, consumer)
      return {list, message}
    end
    set_aside(list, message, problem)
  end
end
redis.call('ZADD', consumers, now, consumer)
return false
