-- SPDX-License-Identifier: MIT
-- Trees of small tables, built and dropped, beside one that lives.
local function build(depth)
  if depth == 0 then return {} end
  return {build(depth - 1), build(depth - 1)}
end

local function count(tree)
  if not tree[1] then return 1 end
  return 1 + count(tree[1]) + count(tree[2])
end

local long_lived, total = build(13), 0
for depth = 4, 12, 2 do
  for _ = 1, 1 << (14 - depth) do total = total + count(build(depth)) end
end
return total + count(long_lived)
