-- SPDX-License-Identifier: MIT
-- A simulation: events in a queue by time, each an object with methods, which makes others.
local Event = {}
Event.__index = Event
function Event.new(at, action) return setmetatable({at = at, action = action}, Event) end
function Event:before(other) return self.at < other.at end

local Queue = {}
Queue.__index = Queue
function Queue.new() return setmetatable({items = {}}, Queue) end
function Queue:push(event)
  local items, i = self.items, #self.items + 1
  items[i] = event
  while i > 1 and items[i]:before(items[i // 2]) do
    items[i], items[i // 2] = items[i // 2], items[i]
    i = i // 2
  end
end
function Queue:pop()
  local items = self.items
  local first, last = items[1], table.remove(items)
  if #items > 0 then
    items[1] = last
    local i = 1
    while true do
      local child = 2 * i
      if child > #items then break end
      if child < #items and items[child + 1]:before(items[child]) then child = child + 1 end
      if not items[child]:before(items[i]) then break end
      items[i], items[child] = items[child], items[i]
      i = child
    end
  end
  return first
end

local queue, seed, done = Queue.new(), 42, 0
local function random(n)
  seed = (seed * 1103515245 + 12345) % 2147483648
  return seed // 65536 % n
end
local function schedule(now, left)
  queue:push(Event.new(now + 1 + random(1000), function(at)
    done = done + 1
    if left > 0 then schedule(at, left - 1) end
  end))
end
for i = 1, 2000 do schedule(i, 40) end
while #queue.items > 0 do
  local event = queue:pop()
  event.action(event.at)
end
return done
