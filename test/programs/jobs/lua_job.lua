-- SPDX-License-Identifier: MIT
-- Tables, strings, closures and coroutines under both collectors; each part prints a checksum of
-- what it built. The argument multiplies the work.
local scale = tonumber(arg[1])
local state = 12345

local function next_number(limit)
  state = (state * 1103515245 + 12345) % 0x80000000
  return (state >> 8) % limit
end

local function checksum(text)
  local sum = 5381
  for position = 1, #text do
    sum = (sum * 33 + text:byte(position)) % 0x100000000
  end
  return ("%08x %d"):format(sum, #text)
end

local function tables()
  local live = {}
  for round = 1, 120000 * scale do
    local key = "k" .. next_number(5000)
    local entry = live[key] or { list = {}, name = key }
    entry.list[#entry.list + 1] = ("v"):rep(next_number(60)) .. round
    live[key] = entry
    if round % 3 == 0 then live["k" .. next_number(5000)] = nil end
  end
  local lines = {}
  for key, entry in pairs(live) do lines[#lines + 1] = key .. table.concat(entry.list, ",") end
  table.sort(lines)
  return table.concat(lines, "\n")
end

local function strings()
  local parts = {}
  for _ = 1, 30000 * scale do
    parts[#parts + 1] = ("%x-%d"):format(next_number(1 << 20), next_number(99))
  end
  local text = table.concat(parts, " ")
  local swapped = text:gsub("(%x+)-(%d+)", "%2:%1"):upper()
  local grown = ""
  for position = 1, 4000 do grown = grown .. swapped:sub(position, position) end
  return swapped .. grown .. swapped:reverse()
end

local function coroutines()
  local makers, out = {}, {}
  for index = 1, 3000 do
    makers[index] = coroutine.wrap(function()
      local kept = {}
      while true do
        kept[#kept + 1] = ("c"):rep(next_number(200))
        coroutine.yield(#kept * index + #kept[#kept])
      end
    end)
  end
  for _ = 1, 20 * scale do
    for index = 1, #makers do out[#out + 1] = makers[index]() end
  end
  return table.concat(out, ",")
end

for _, mode in ipairs({ "incremental", "generational" }) do
  collectgarbage(mode)
  print(mode, "tables", checksum(tables()))
  print(mode, "strings", checksum(strings()))
  print(mode, "coroutines", checksum(coroutines()))
  collectgarbage("collect")
end
