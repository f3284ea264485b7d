-- Adds a hint, or says that there are too many.
-- KEYS: ready stream, delayed set. ARGV: hint, delay in ms, most hints.
if redis.call('XLEN', KEYS[1]) + redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[3]) then
  return 0
end
local delay = tonumber(ARGV[2])
if delay == 0 then
  redis.call('XADD', KEYS[1], '*', 'hint', ARGV[1])
else
  local time = redis.call('TIME')
  local due = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + delay)
  -- The time keeps equal hints apart that are due at different times.
  redis.call('ZADD', KEYS[2], due, due .. ':' .. ARGV[1])
end
return 1
