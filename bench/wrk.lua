-- For wrk: asks a forward proxy when it is told to, and prints exact results.
--
--   wrk -s wrk.lua PROXY-URL -- url=http://origin/path
--
-- There is no request() and no response() here: they would cost the client time
-- for each request.
function init(args)
  for _, argument in ipairs(args) do
    local url = argument:match("^url=(.*)")
    if url then
      -- To a proxy the request-target is the whole URL, and Host the origin's.
      wrk.path = url
      wrk.headers["Host"] = url:match("^http://([^/]+)")
    end
  end
end

function done(summary, latency)
  local errors = summary.errors
  local function ms(percent) return latency:percentile(percent) / 1000 end
  print(string.format(
    "count=%d seconds=%.3f bytes=%d connect=%d read=%d write=%d timeout=%d non_2xx=%d " ..
    "p50_ms=%.3f p75_ms=%.3f p90_ms=%.3f p99_ms=%.3f p999_ms=%.3f max_ms=%.3f",
    summary.requests, summary.duration / 1e6, summary.bytes,
    errors.connect, errors.read, errors.write, errors.timeout, errors.status,
    ms(50), ms(75), ms(90), ms(99), ms(99.9), latency.max / 1000))
end
