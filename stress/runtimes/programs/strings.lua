-- SPDX-License-Identifier: MIT
-- Text built by concatenation, taken apart and changed.
local sum = 0
for round = 1, 12 do
  local lines = {}
  for i = 1, 4000 do
    local line = "line " .. i .. " of round " .. round
    if i % 3 == 0 then line = line:upper() .. ("-"):rep(i % 60) end
    lines[#lines + 1] = line
  end
  local text = table.concat(lines, "\n")
  for word in text:gmatch("%a+") do sum = sum + #word end
  sum = sum + select(2, text:gsub("(%d+)", "<%1>")) + #text:reverse()
  local grown = ""
  for i = 1, 300 do grown = grown .. lines[i] end
  sum = sum + #grown
end
return sum
