-- GPU ids -> the number of segments of each; both joined by spaces, which is faster than arrays for a thousand GPUs.
local loads = {}
for gpu in string.gmatch(ARGV[1], '%S+') do loads[#loads + 1] = redis.call('ZCARD', K.active .. gpu) end
return table.concat(loads, ' ')
