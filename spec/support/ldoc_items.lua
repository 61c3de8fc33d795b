-- Tells what LDoc has understood, for specs: `ldoc --filter spec.support.ldoc_items.print .`. Runs in LDoc's own
-- Lua, which may be a 5.1. A line "item MODULE OWNER NAME" for each item, where the owner is a class, a table or "-";
-- "option FUNCTION NAME" for each field of a parameter; "bare NAME WHAT" where a description is missing.
local items = {}

local function say(...)
  print(table.concat({ ... }, " "))
end

local function is_empty(text)
  return text == nil or not text:find "%S"
end

local function print_params(item)
  for _, name in ipairs(item.params or {}) do
    if item.type == "table" then
      say("item", "remoteobj", item.name, name)
    end
    for _, option in ipairs(item.subparams[name] or {}) do
      say("option", item.name, (option:match "%.(.*)$"))
      if is_empty(item.params.map[option]) then
        say("bare", item.name, option)
      end
    end
    if item.type ~= "field" and not item.subparams[name] and is_empty(item.params.map[name]) then
      say("bare", item.name, name)
    end
  end
end

local function print_item(module, item)
  local owner, name = item.name:match "^([^.:]+)[.:](.+)$"
  say("item", module.name, owner or "-", name or item.name)
  if is_empty(item.summary) then
    say("bare", item.name, "summary")
  end
  print_params(item)
end

function items.print(modules)
  for _, module in ipairs(modules) do
    for _, section in ipairs(module.sections) do
      if section.type == "type" then
        say("class", section.name)
      end
    end
    for _, item in ipairs(module.items) do
      print_item(module, item)
    end
  end
end

return items
