-- Sends the bodies of a file in turn, and prints what came of it as one line of JSON.
-- Environment: BODIES, one body a line; REQUEST_PATH; HEADERS, a line each.

local requests, position = {}, 0

function init(_)
  local headers = {["Content-Type"] = "application/json"}
  for line in os.getenv("HEADERS"):gmatch("[^\n]+") do
    local name, value = line:match("^([^:]+): (.*)$")
    headers[name] = value
  end
  for body in io.lines(os.getenv("BODIES")) do
    requests[#requests + 1] = wrk.format("POST", os.getenv("REQUEST_PATH"), headers, body)
  end
end

function request()
  position = position % #requests + 1
  return requests[position]
end

function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "us": %d, "refused": %d, "broken": %d, "p50_us": %.1f, "p99_us": %.1f, "max_us": %.1f}\n',
    summary.requests, summary.duration, e.status, e.connect + e.read + e.write + e.timeout,
    latency:percentile(50), latency:percentile(99), latency.max))
end
