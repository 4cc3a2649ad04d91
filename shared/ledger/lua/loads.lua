-- ids of GPUs -> how many segments each has; both joined by spaces, which a thousand of them need for speed.
local loads = {}
for gpu in string.gmatch(ARGV[1], '%S+') do loads[#loads + 1] = redis.call('ZCARD', K.active .. gpu) end
return table.concat(loads, ' ')
