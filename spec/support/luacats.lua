-- Reads LuaCATS annotations (those of lua-language-server) strictly: a line that is not understood, a type that is not
-- there, a parameter that the function doesn't have are errors that name the line.
--
--   local file = luacats.read "library/remoteobj.lua"
--   file.classes["remoteobj.Proxy"]     -- { parents, fields = { name -> type }, indexed = { type of key -> type },
--                                       --   methods = { name -> function }, operators = { name -> true },
--                                       --   overloads = { function types } }
--   file.aliases["remoteobj.ErrorKind"] -- a type
--   file.functions["remoteobj.sleep"]   -- { params = { { name, type } }, overloads }: functions of a table
--
-- A type is { kind, ... }; luacats.names_in(type) lists the named types in it.
local luacats = {}

local BUILTIN = {}
for name in ("any nil boolean true false integer number string table function userdata thread unknown"):gmatch "%a+" do
  BUILTIN[name] = true
end

-- ---- types ----

local Reader = {}
Reader.__index = Reader

local function reader(text)
  return setmetatable({ text = text, at = 1 }, Reader)
end

function Reader:take(pattern)
  local first, last, capture = self.text:find("^%s*(" .. pattern .. ")", self.at)
  if first then
    self.at = last + 1
    return capture
  end
end

function Reader:need(pattern)
  return self:take(pattern) or error(("%q expected at %q"):format(pattern, self.text:sub(self.at)), 0)
end

function Reader:rest()
  return (self.text:sub(self.at):gsub("^%s+", ""))
end

-- { name?: type, ...: type }
function Reader:params()
  local list = {}
  self:need "%("
  while not self:take "%)" do
    local name = self:take "%.%.%." or self:need "[%a_][%w_]*"
    local optional = self:take "%?" ~= nil
    list[#list + 1] = { name = name, optional = optional, type = self:take ":" and self:type() or { kind = "any" } }
    if not self:take "," then
      self:need "%)"
      break
    end
  end
  return list
end

function Reader:returns()
  local list = {}
  if self:take ":" then
    repeat
      local name = self:take "%.%.%."
      if name then
        self:need ":"
      end
      list[#list + 1] = self:type()
    until not self:take ","
  end
  return list
end

function Reader:func()
  self:need "fun"
  local params = self:params()
  return { kind = "function", params = params, returns = self:returns() }
end

function Reader:atom()
  if self:take "%(" then
    local inner = self:type()
    self:need "%)"
    return inner
  elseif self.text:find("^%s*fun%f[%(]", self.at) then
    return self:func()
  end
  local literal = self:take '"[^"]*"'
  if literal then
    return { kind = "literal", value = literal:sub(2, -2) }
  end
  local name = { kind = "name", name = self:need "[%a_][%w_.]*" }
  if self:take "<" then
    repeat
      name[#name + 1] = self:type()
    until not self:take ","
    self:need ">"
  end
  return name
end

function Reader:type()
  local union = { kind = "union" }
  self:take "|" -- in front of the first, in an alias of several lines
  repeat
    local one = self:atom()
    while self:take "%[%]" or self:take "%?" do -- luacheck: ignore
    end
    union[#union + 1] = one
  until not self:take "|"
  return #union == 1 and union[1] or union
end

--- The names of types in a type, in order.
function luacats.names_in(t, list)
  list = list or {}
  if t.name and t.kind == "name" then
    list[#list + 1] = t.name
  end
  for _, inner in ipairs(t) do
    luacats.names_in(inner, list)
  end
  for _, param in ipairs(t.params or {}) do
    luacats.names_in(param.type, list)
  end
  for _, result in ipairs(t.returns or {}) do
    luacats.names_in(result, list)
  end
  return list
end

--- The strings that a type of literals allows.
function luacats.literals(t)
  local list = {}
  for _, one in ipairs(t.kind == "union" and t or { t }) do
    list[#list + 1] = assert(one.value, "no literal")
  end
  return list
end

-- ---- annotations ----

local File = {}
File.__index = File

-- Remembers a type, to see at the end whether what it names is there.
function File:uses(t)
  local generics = self.block.generics
  for _, name in ipairs(luacats.names_in(t)) do
    if not BUILTIN[name] and not generics[name] then
      self.used[#self.used + 1] = { name = name, line = self.line }
    end
  end
  return t
end

local tags = {}

function tags.meta() end

function tags.class(self, r)
  local name = r:need "[%a_][%w_.]*"
  assert(not self.classes[name], "the class is there already")
  local class = { parents = {}, fields = {}, indexed = {}, methods = {}, operators = {}, overloads = {} }
  if r:take ":" then
    repeat
      local parent = r:need "[%a_][%w_.]*"
      class.parents[#class.parents + 1] = parent
      self:uses { kind = "name", name = parent }
    until not r:take ","
  end
  self.classes[name], self.block.class = class, class
end

function tags.field(self, r)
  local class = assert(self.block.class, "a field without a class")
  if r:take "%[" then
    local key = self:uses(r:take "%d+" and { kind = "name", name = "integer" } or r:type())
    r:need "%]"
    class.indexed[key.name] = self:uses(r:type())
    return
  end
  local name = r:need "[%a_][%w_]*"
  r:take "%?"
  assert(not class.fields[name], "the field is there already")
  class.fields[name] = self:uses(r:type())
end

function tags.operator(self, r)
  local name = r:need "%a+"
  if r:take "%(" then
    self:uses(r:type())
    r:need "%)"
  end
  r:need ":"
  self:uses(r:type())
  self.block.class.operators[name] = true
end

function tags.overload(self, r)
  local list = self.block.class and self.block.class.overloads or self.block.overloads
  list[#list + 1] = self:uses(r:func())
end

function tags.alias(self, r)
  local name = r:need "[%a_][%w_.]*"
  self.block.alias = name
  self.aliases[name] = r:rest() ~= "" and self:uses(r:type()) or { kind = "union" }
end

function tags.generic(self, r)
  repeat
    self.block.generics[r:need "[%a_][%w_]*"] = true
    if r:take ":" then
      self:uses(r:type())
    end
  until not r:take ","
end

function tags.param(self, r)
  local name = r:take "%.%.%." or r:need "[%a_][%w_]*"
  r:take "%?"
  local params = self.block.params
  params[#params + 1] = { name = name, type = self:uses(r:type()) }
end

tags["return"] = function(self, r)
  self:uses(r:type())
  self.block.returns = self.block.returns + 1
end

local function new_block()
  return { generics = {}, params = {}, overloads = {}, returns = 0 }
end

local function annotation(self, text)
  local r = reader(text)
  if r:take "|" then -- another value of an alias
    local values = self.aliases[assert(self.block.alias, "a value without an alias")]
    values[#values + 1] = self:uses(r:atom())
    return
  end
  r:need "@"
  local tag = r:need "%a+"
  assert(tags[tag], "unknown tag")(self, r)
  if tag == "class" or tag == "overload" or tag == "operator" or tag == "generic" then
    assert(r:rest() == "", "something follows")
  end
end

-- ---- code ----

local function check_params(block, list)
  local names = {}
  for name in list:gmatch "[%w_.]+" do
    names[#names + 1] = name
  end
  for i = 1, math.max(#names, #block.params) do
    local documented = block.params[i] and block.params[i].name
    assert(names[i] == documented, ("parameter %s is documented as %s"):format(names[i], documented))
  end
end

local function definition(self, text)
  local block = self.block
  local variable = text:match "^local (%w+) = {}$"
  if variable then
    self.variables[variable] = assert(block.class, "a table without a class")
    return
  end
  local owner, separator, name, list = text:match "^function ([%w.]+)([.:])([%w_]+)%((.*)%) end$"
  if owner then
    check_params(block, list)
    assert(block.description, "a function without a description")
    local func = { params = block.params, overloads = block.overloads }
    if separator == ":" then
      assert(self.variables[owner], "no such class").methods[name] = func
    else
      self.functions[owner .. "." .. name] = func
    end
  elseif not (text:match "^[%w_.]+ = {}$" or text:match "^[%w_.]+ = [%w_.]+$" or text:match "^return %w+$") then
    error("code that definitions don't need", 0)
  end
end

local function take_line(self, line)
  if line:match "^%-%-%-[@|]" then
    annotation(self, line:sub(4))
  elseif line:match "^%-%-%-" then
    self.block.description = true
  elseif line == "" or line:match "^%-%-" then
    self.block = new_block()
  else
    definition(self, line)
    self.block = new_block()
  end
end

--- Reads a file of definitions; an error names the line that is wrong.
function luacats.read(file_name)
  local self = setmetatable({
    classes = {}, aliases = {}, functions = {}, variables = {}, used = {}, block = new_block(), line = 0,
  }, File)
  for line in io.lines(file_name) do
    self.line = self.line + 1
    local ok, problem = pcall(take_line, self, line)
    if not ok then
      error(("%s:%d: %s: %s"):format(file_name, self.line, problem, line), 2)
    end
  end
  for _, use in ipairs(self.used) do
    if not self.classes[use.name] and not self.aliases[use.name] then
      error(("%s:%d: there is no type %s"):format(file_name, use.line, use.name), 2)
    end
  end
  return self
end

return luacats
