-- SPDX-License-Identifier: MIT
-- Tables and strings made, sorted, joined and dropped; prints a checksum.
local quick = os.getenv("METE_BENCH_QUICK") == "1"
local count, rounds = quick and 26000 or 40000, quick and 1 or 6
local state = 1
local function random(bound)
  state = (state * 1103515245 + 12345) % 2147483648
  return state % bound
end
local sum = 0
for round = 1, rounds do
  local records, by_name = {}, {}
  for i = 1, count do
    local record = { name = "item" .. random(count * 4), weight = random(1000), tags = {} }
    for tag = 1, random(5) do
      record.tags[tag] = ("tag%d/%d"):format(tag, random(100))
    end
    records[i] = record
    by_name[record.name] = record
  end
  table.sort(records, function(a, b)
    if a.weight ~= b.weight then return a.weight < b.weight end
    return a.name < b.name
  end)
  local lines = {}
  for i, record in ipairs(records) do
    lines[i] = record.name .. ":" .. table.concat(record.tags, ",")
  end
  local text = table.concat(lines, "\n")
  for word in text:gmatch("item(%d+)") do
    sum = (sum * 31 + tonumber(word)) % 1000000007
  end
end
print(sum)
