-- What the store of a fleet does with one call of an instance. fleet.rs says what it is for.
--
-- KEYS: the instances, the last call of this one, the mark of a store that has lost its data, when the data began; then one
--       key for each item.
-- ARGV: id, empty for one that is no instance, number of the call, lease in ms, time of the mark in ms, when the data began that this
--       instance knows, or 0; then seven for each item, of which the first is its kind.
-- Answer: how many instances, when the data began; then three numbers for each item.

local function number(text)
  return tonumber(text or '0') or 0
end

local function digits(value)
  return string.format('%.0f', value)
end

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local id, lease = ARGV[1], number(ARGV[3]) * 1000

local is_new, epoch, is_lost = true, 0, false
if id ~= '' then
  -- A call that is repeated, since its answer was lost, adds nothing.
  is_new = number(ARGV[2]) > number(redis.call('GET', KEYS[2]))
  -- The first write: a server without memory refuses this one, and allows all that come after another.
  redis.call('SET', KEYS[2], ARGV[2], 'PX', 3600000)

  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', digits(now - 1))
  -- The clock was set back.
  redis.call('ZREMRANGEBYSCORE', KEYS[1], digits(now + 2 * lease), '+inf')

  -- An instance that knows other data: the others hold places as well that the store does not know.
  if not redis.call('GET', KEYS[4]) then
    redis.call('SET', KEYS[4], digits(now))
  end
  epoch = number(redis.call('GET', KEYS[4]))
  -- Or no lease is left, since the store did not run for as long: what the others hold is not known either.
  local is_known = redis.call('ZCARD', KEYS[1]) > 0
  if ARGV[5] ~= '0' and (number(ARGV[5]) ~= epoch or not is_known) then
    redis.call('SET', KEYS[3], '1', 'PX', ARGV[4], 'NX')
  end
  is_lost = redis.call('EXISTS', KEYS[3]) == 1
  redis.call('ZADD', KEYS[1], digits(now + lease), id)
end

local answer = { redis.call('ZCARD', KEYS[1]), epoch }

local function rate(key, taken, wanted, interval, burst, most)
  local due = math.min(math.max(number(redis.call('GET', key)), now), now + most)
  if is_new then
    due = math.max(due + taken * interval, now)
  end
  local room = math.floor((now + burst * interval - due) / interval + 0.000001)
  local granted = math.max(math.min(wanted, room), 0)
  due = due + granted * interval
  if due > now then
    redis.call('SET', key, string.format('%.2f', due), 'PX', math.ceil((due - now) / 1000) + 1000)
  end
  return math.ceil(due - now), granted, 0
end

local function places(key, open, wanted, most)
  local others = 0
  local all = redis.call('HGETALL', key)
  for at = 1, #all, 2 do
    if all[at] ~= id then
      local has, ends = string.match(all[at + 1], '^(%d+) (%d+)$')
      has, ends = number(has), number(ends)
      if ends < now then
        redis.call('HDEL', key, all[at])
      else
        others = others + has
        if ends > now + 2 * lease then
          redis.call('HSET', key, all[at], has .. ' ' .. digits(now + lease))
        end
      end
    end
  end
  if is_lost then
    wanted = open
  end
  local has = math.max(math.min(wanted, most - others), open)
  if has > 0 then
    redis.call('HSET', key, id, has .. ' ' .. digits(now + lease))
    redis.call('PEXPIRE', key, digits(lease / 1000 + 1000))
  else
    redis.call('HDEL', key, id)
  end
  return has, 0, 0
end

local function quota(key, used_more, used_known, granted_known, resets_known, ends, change)
  local stored = redis.call('HMGET', key, 'used', 'granted', 'resets')
  local used, granted, resets = number(stored[1]), number(stored[2]), number(stored[3])
  -- What an instance has learned and the store has lost is written again.
  if resets == resets_known then
    used, granted = math.max(used, used_known), math.max(granted, granted_known)
  elseif resets < resets_known then
    used, granted, resets = used_known, granted_known, resets_known
  end
  if is_new then
    used = used + used_more
    if change == 'reset' then
      used, granted, resets = 0, 0, resets + 1
    else
      granted = granted + number(change)
    end
  end
  local most = 9007199254740991
  used, granted = math.min(used, most), math.min(granted, most)
  if used ~= number(stored[1]) or granted ~= number(stored[2]) or resets ~= number(stored[3]) then
    redis.call('HSET', key, 'used', digits(used), 'granted', digits(granted), 'resets', digits(resets))
    redis.call('PEXPIREAT', key, ends)
  end
  return used, granted, resets
end

for item = 1, #KEYS - 4 do
  local key, at = KEYS[item + 4], item * 7 - 1
  local kind, a, b, c = ARGV[at], number(ARGV[at + 1]), number(ARGV[at + 2]), number(ARGV[at + 3])
  local x, y, z
  if kind == 'rate' then
    x, y, z = rate(key, a, b, c, number(ARGV[at + 4]), number(ARGV[at + 5]))
  elseif kind == 'places' then
    x, y, z = places(key, a, b, c)
  else
    x, y, z = quota(key, a, b, c, number(ARGV[at + 4]), ARGV[at + 5], ARGV[at + 6])
  end
  answer[#answer + 1] = x
  answer[#answer + 1] = y
  answer[#answer + 1] = z
end
return answer
