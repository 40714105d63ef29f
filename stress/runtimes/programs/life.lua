-- SPDX-License-Identifier: MIT
-- Conway's game on a set of cells, with a new set for each generation.
local cells = {}
local function key(x, y) return x .. "," .. y end
for _, cell in ipairs {{1, 0}, {2, 0}, {0, 1}, {1, 1}, {1, 2}} do cells[key(cell[1], cell[2])] = cell end
for _ = 1, 130 do
  local neighbours, places, after = {}, {}, {}
  for _, cell in pairs(cells) do
    for dx = -1, 1 do
      for dy = -1, 1 do
        local x, y = cell[1] + dx, cell[2] + dy
        local at = key(x, y)
        places[at] = places[at] or {x, y}
        neighbours[at] = (neighbours[at] or 0) + ((dx ~= 0 or dy ~= 0) and 1 or 0)
      end
    end
  end
  for at, count in pairs(neighbours) do
    if count == 3 or (count == 2 and cells[at]) then after[at] = places[at] end
  end
  cells = after
end
local alive = 0
for _ in pairs(cells) do alive = alive + 1 end
return alive
