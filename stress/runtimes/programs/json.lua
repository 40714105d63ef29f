-- SPDX-License-Identifier: MIT
-- A writer and a parser of JSON, each other's test.
local function write(value, out)
  local kind = type(value)
  if kind == "table" then
    if value[1] ~= nil then
      out[#out + 1] = "["
      for i, item in ipairs(value) do
        if i > 1 then out[#out + 1] = "," end
        write(item, out)
      end
      out[#out + 1] = "]"
    else
      out[#out + 1] = "{"
      local keys = {}
      for key in pairs(value) do keys[#keys + 1] = key end
      table.sort(keys)
      for i, key in ipairs(keys) do
        out[#out + 1] = (i > 1 and "," or "") .. '"' .. key .. '":'
        write(value[key], out)
      end
      out[#out + 1] = "}"
    end
  elseif kind == "string" then
    out[#out + 1] = '"' .. value:gsub('[\\"]', "\\%0") .. '"'
  else
    out[#out + 1] = tostring(value)
  end
  return out
end

local parse

local function parse_string(text, at)
  local parts = {}
  while true do
    local stop = text:find('[\\"]', at)
    parts[#parts + 1] = text:sub(at, stop - 1)
    if text:sub(stop, stop) == '"' then return table.concat(parts), stop + 1 end
    parts[#parts + 1] = text:sub(stop + 1, stop + 1)
    at = stop + 2
  end
end

function parse(text, at)
  local first = text:sub(at, at)
  if first == "{" then
    local object = {}
    at = at + 1
    while text:sub(at, at) ~= "}" do
      local key
      key, at = parse_string(text, at + (text:sub(at, at) == "," and 2 or 1))
      object[key], at = parse(text, at + 1)
    end
    return object, at + 1
  elseif first == "[" then
    local list = {}
    while text:sub(at, at) ~= "]" do list[#list + 1], at = parse(text, at + 1) end
    return list, at + 1
  elseif first == '"' then
    return parse_string(text, at + 1)
  end
  local word = text:match("^[%w.+-]+", at)
  at = at + #word
  if word == "true" then return true, at end
  if word == "false" then return false, at end
  return tonumber(word), at
end

local record = {}
for i = 1, 700 do
  record[i] = {id = i, name = 'user "' .. i .. '"', tags = {"a" .. i % 7, "b" .. i % 11}, active = i % 2 == 0,
               place = {x = i * 3, y = i / 4}}
end
local text = table.concat(write(record, {}))
for _ = 1, 14 do
  local again = table.concat(write(parse(text, 1), {}))
  assert(again == text)
end
return #text
