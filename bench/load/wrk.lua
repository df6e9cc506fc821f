-- Sends prepared requests in turn, and ends with one line of JSON. wrk ... -- FILE

local requests = {}
local turn = 0

function init(args)
    local file = assert(io.open(args[1], "rb"))
    local text = file:read("*a")
    file:close()
    local start = 1
    while true do
        local stop = text:find("\0", start, true)
        requests[#requests + 1] = text:sub(start, (stop or 0) - 1)
        if not stop then
            break
        end
        start = stop + 1
    end
end

function request()
    turn = turn % #requests + 1
    return requests[turn]
end

function done(summary, latency)
    local e = summary.errors
    io.write(string.format(
        '\n{"requests": %d, "seconds": %.6f, "errors": %d, "p50_ms": %.3f, "p99_ms": %.3f}\n',
        summary.requests, summary.duration / 1e6, e.connect + e.read + e.write + e.status + e.timeout,
        latency:percentile(50) / 1000, latency:percentile(99) / 1000
    ))
end
