-- The reference hook for nginx, in its access phase.
local var = ngx.var

local function user()
  local encoded = (var.http_proxy_authorization or ""):match("^Basic (.+)$")
  return encoded and (ngx.decode_base64(encoded) or ""):match("^[^:]*")
end

local host = var.http_host or ""
if host:sub(-13) == ".corp.example" then ngx.req.set_header("X-Corp", "yes") end
local path = var.uri
if (path == "/admin" or path:sub(1, 7) == "/admin/") and user() ~= "admin" then
  return ngx.exit(403)
end
local agent = var.http_user_agent or ""
if agent:sub(1, 4) == "curl" then ngx.req.set_header("X-Client", "curl") end
