-- SPDX-License-Identifier: MIT
-- All ways to put eight queens on a board, each step a new list.
local function place(size, row, placed, found)
  if row > size then
    found[#found + 1] = placed
    return
  end
  for column = 1, size do
    local free = true
    for other, at in ipairs(placed) do
      if at == column or math.abs(at - column) == row - other then free = false break end
    end
    if free then
      local next_placed = {table.unpack(placed)}
      next_placed[row] = column
      place(size, row + 1, next_placed, found)
    end
  end
end

local total = 0
for _ = 1, 18 do
  local found = {}
  place(8, 1, {}, found)
  total = total + #found
end
return total
