-- What wrk asks nginx for: every page in every way that the configuration knows, in turn.
-- SPDX-License-Identifier: MIT
local requests, next_one = {}, 0

function init()
  local headers = { ["Host"] = "localhost", ["Accept-Encoding"] = "gzip" }
  for page = 0, 8 do
    for _, place in ipairs({ "/", "/changed/", "/forwarded/", "/forwarded/changed/" }) do
      requests[#requests + 1] = wrk.format("GET", place .. page, headers)
    end
  end
  requests[#requests + 1] = wrk.format("GET", "/including", headers)
end

function request()
  next_one = next_one % #requests + 1
  return requests[next_one]
end
