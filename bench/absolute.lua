-- Makes wrk speak to a forward proxy: the request-target is the whole URL, and
-- Host is the origin's, not the proxy's. Usage: wrk ... URL-OF-PROXY -- URL
function init(args)
  wrk.path = args[1]
  wrk.headers["Host"] = args[1]:match("^http://([^/]+)")
end
