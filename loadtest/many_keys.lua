-- Load with many API keys, picked at random for every request: one key alone would live in every
-- cache and say nothing about a gateway that holds 100 000 of them.
--
--   wrk -c 64 -t 1 -d 5s -s loadtest/many_keys.lua http://127.0.0.1:8080/orders/1k -- KEYS [SEED] [HEADER]
--
-- KEYS is a file with one key a line. Requests are written out before the clock starts, so that a
-- request costs the load generator one table lookup. The last line printed is JSON.

local requests = {}

local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end

function init(arguments)
  local path = arguments[1]
  if not path then
    error("name a file of keys: wrk … -s many_keys.lua URL -- KEYS")
  end
  local header = arguments[3] or "X-API-Key"
  for key in io.lines(path) do
    if key ~= "" then
      requests[#requests + 1] = wrk.format("GET", nil, {
        ["Host"] = wrk.headers["Host"],
        ["Accept"] = "*/*",
        ["User-Agent"] = "wrk",
        [header] = key,
      })
    end
  end
  if #requests == 0 then
    error("no keys in " .. path)
  end
  math.randomseed((tonumber(arguments[2]) or 1) * 1000 + number)
end

function request()
  return requests[math.random(#requests)]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"elapsed_us":%d,"bytes":%d,"p50_us":%d,"p99_us":%d,"max_us":%d,'
      .. '"errors":{"connect":%d,"read":%d,"write":%d,"timeout":%d,"status":%d}}\n',
    summary.requests, summary.duration, summary.bytes,
    latency:percentile(50), latency:percentile(99), latency.max,
    errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
