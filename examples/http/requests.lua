-- What wrk asks of http: addresses with parameters, and every eighth time a form.
-- SPDX-License-Identifier: MIT

local requests = {}
local next = 0

function init()
  wrk.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
  wrk.headers["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
  wrk.headers["Accept-Language"] = "en-GB,en;q=0.7,de;q=0.3"
  wrk.headers["Cookie"] = "visit=5f2b8c0e91d74a63; theme=dark; basket=17%2C204%2C9"
  for i = 1, 64 do
    if i % 8 == 0 then
      local form = "name=Visitor+" .. i .. "&street=Long%20Street%20" .. i
        .. "&wish=a+lamp+of+brass+%26+glass&comment=" .. string.rep("please+hurry+", i)
      requests[i] = wrk.format("POST", "/form?step=2", nil, form)
    else
      requests[i] = wrk.format("GET", "/?name=Visitor%20" .. i .. "&count=20&from=" .. 20 * i)
    end
  end
end

function request()
  next = next % #requests + 1
  return requests[next]
end

function done(summary, latency)
  io.write(string.format("metric request_us %.3f\n", summary.duration / summary.requests))
  for _, part in ipairs({50, 99, 99.9}) do
    io.write(string.format("metric p%g_us %d\n", part, latency:percentile(part)))
  end
end
