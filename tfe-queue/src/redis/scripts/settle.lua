-- Ends a delivery, if it is still the latest one of its hint.
-- KEYS: ready stream, delayed set. ARGV: group, id, how often it was delivered, and to have it again: hint, delay in ms.
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1)
if pending.err or not pending[1] or pending[1][4] ~= tonumber(ARGV[3]) then
  return 0
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
if ARGV[4] then
  local time = redis.call('TIME')
  local due = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[5]))
  redis.call('ZADD', KEYS[2], due, due .. ':' .. ARGV[4])
end
return 1
