-- SPDX-License-Identifier: MIT
-- An index of words: tables with keys of text that grow, are sorted and are dropped.
local seed, sum = 7, 0
local function random(n)
  seed = (seed * 1103515245 + 12345) % 2147483648
  return seed // 65536 % n
end
for round = 1, 6 do
  local index, order = {}, {}
  for at = 1, 25000 do
    local word = "w" .. random(6000) .. string.char(97 + random(26))
    local places = index[word]
    if not places then
      places = {}
      index[word] = places
      order[#order + 1] = word
    end
    places[#places + 1] = at
  end
  table.sort(order)
  for i, word in ipairs(order) do sum = sum + i % 7 * #index[word] end
end
return sum
