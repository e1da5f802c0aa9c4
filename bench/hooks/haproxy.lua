-- The reference hook for HAProxy.
local function user(txn)
  local encoded = (txn.sf:req_hdr("proxy-authorization") or ""):match("^Basic (.+)$")
  return encoded and txn.c:b64dec(encoded):match("^[^:]*")
end

core.register_action("hook", { "http-req" }, function(txn)
  local host = txn.sf:req_hdr("host") or ""
  if host:sub(-13) == ".corp.example" then txn.http:req_set_header("X-Corp", "yes") end
  local path = txn.sf:path()
  if (path == "/admin" or path:sub(1, 7) == "/admin/") and user(txn) ~= "admin" then
    local reply = txn:reply()
    reply:set_status(403)
    txn:done(reply)
  end
  local agent = txn.sf:req_hdr("user-agent") or ""
  if agent:sub(1, 4) == "curl" then txn.http:req_set_header("X-Client", "curl") end
end)
