-- SPDX-License-Identifier: MIT
-- Pipelines of coroutines, with closures between them.
local function numbers(n)
  return coroutine.wrap(function() for i = 1, n do coroutine.yield(i) end end)
end
local function map(source, change)
  return coroutine.wrap(function() for value in source do coroutine.yield(change(value)) end end)
end
local function keep(source, test)
  return coroutine.wrap(function() for value in source do if test(value) then coroutine.yield(value) end end end)
end
local sum = 0
for round = 1, 4500 do
  local stream = keep(map(numbers(40), function(i) return {i * round} end), function(box) return box[1] % 3 ~= 0 end)
  for box in stream do sum = sum + box[1] % 1000 end
end
return sum
