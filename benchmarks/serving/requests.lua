-- Sends the lines of the file BODIES one after another, each thread from another place; says how many answers were no 200.
local bodies, place, failed = {}, 0, 0
local threads = {}

function setup(thread)
  thread:set("first", #threads * 37)
  table.insert(threads, thread)
end

function init(arguments)
  for line in io.lines(os.getenv("BODIES")) do
    table.insert(bodies, wrk.format("POST", nil, { ["content-type"] = "application/json" }, line))
  end
  place = first
  failures = 0
end

function request()
  place = place + 1
  return bodies[place % #bodies + 1]
end

function response(status)
  if status ~= 200 then
    failures = failures + 1
  end
end

function done(summary, latency, requests)
  local others = 0
  for _, thread in ipairs(threads) do
    others = others + thread:get("failures")
  end
  io.write(string.format('{"requests": %d, "seconds": %.6f, "p50": %.1f, "p90": %.1f, "p99": %.1f, "errors": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(90), latency:percentile(99),
    others + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
