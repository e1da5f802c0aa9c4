-- As wrk.lua, with the credentials of many users in turn.
--
--   wrk -s users.lua URL -- users=10000
--
-- Users are user00000, user00001, ... and all have the password "password". A row
-- with one user sends as many different requests of the same length, so that the
-- client's work is the same, and what its own memory takes of the caches.
dofile(os.getenv("BENCH") .. "/wrk.lua")

local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local plain_init = init
local REQUESTS = 10000
local requests = {}
local turn = 0

local function base64(text)
  local out = {}
  for at = 1, #text, 3 do
    local a, b, c = text:byte(at, at + 2)
    local group = a * 65536 + (b or 0) * 256 + (c or 0)
    for place = 0, 3 do
      local index = math.floor(group / 64 ^ (3 - place)) % 64
      local used = place < 2 or (place == 2 and b) or (place == 3 and c)
      out[#out + 1] = used and ALPHABET:sub(index + 1, index + 1) or "="
    end
  end
  return table.concat(out)
end

function init(args)
  plain_init(args)
  local users = 1
  for _, argument in ipairs(args) do
    users = tonumber(argument:match("^users=(%d+)") or users)
  end
  for number = 0, math.max(users, REQUESTS) - 1 do
    local user = string.format("user%05d", number % users)
    wrk.headers["Proxy-Authorization"] = "Basic " .. base64(user .. ":password")
    wrk.headers["X-Request"] = string.format("%05d", number)
    requests[#requests + 1] = wrk.format()
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end
