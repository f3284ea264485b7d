-- Gives hints to a receiver: those whose former receiver took too long, then new ones. Never waits.
-- KEYS: ready stream, delayed set. ARGV: group, visibility timeout in ms, most hints, cursor of the search for late ones,
-- most delayed hints to move.
-- Answer: the next cursor, and for each hint its id, how often it was delivered, and itself.
local group, most = ARGV[1], tonumber(ARGV[3])
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[5])) do
  local hint = string.sub(member, string.find(member, ':', 1, true) + 1)
  redis.call('XADD', KEYS[1], '*', 'hint', hint)
  redis.call('ZREM', KEYS[2], member)
end

local late = redis.pcall('XAUTOCLAIM', KEYS[1], group, 'worker', ARGV[2], ARGV[4], 'COUNT', most)
if late.err then
  -- There is no group, at first or after everything was wiped. One for all entries, also older ones.
  redis.call('XGROUP', 'CREATE', KEYS[1], group, '0', 'MKSTREAM')
  late = {'0-0', {}}
end

local taken = {}
for _, entry in ipairs(late[2]) do
  -- Redis 6.2 has false for an entry that was deleted meanwhile.
  if entry then
    local pending = redis.call('XPENDING', KEYS[1], group, entry[1], entry[1], 1)
    taken[#taken + 1] = {entry[1], pending[1][4], entry[2][2]}
  end
end
if #taken < most then
  local fresh = redis.call('XREADGROUP', 'GROUP', group, 'worker', 'COUNT', most - #taken, 'STREAMS', KEYS[1], '>')
  if fresh then
    for _, entry in ipairs(fresh[1][2]) do
      taken[#taken + 1] = {entry[1], 1, entry[2][2]}
    end
  end
end
return {late[1], taken}
