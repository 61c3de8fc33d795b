-- What the library exports, what its reference says (make doc) and what editors are told (library/remoteobj.lua)
-- are the same, in both directions: names, methods, fields, options, kinds of errors, C functions.
local exports = require "spec.support.exports"
local installation = require "spec.support.installation"
local luacats = require "spec.support.luacats"
local markdown = require "spec.support.markdown"

local DEFINITIONS = "library/remoteobj.lua"

-- LDoc and lua-language-server have Luas of their own, so they get a user's environment.
local run = installation.try

local function is_there(command)
  return run({ "sh", "-c", "command -v " .. command }).code == 0
end

local function add(all, owner, name)
  all[owner] = all[owner] or {}
  all[owner][name] = true
end

-- What is in one of two such tables and not in the other, as a list of texts.
local function missing(from, other)
  local list = {}
  for owner, names in pairs(from) do
    for name in pairs(names) do
      if not (other[owner] and other[owner][name]) then
        list[#list + 1] = owner .. ": " .. name
      end
    end
  end
  table.sort(list)
  return list
end

local function assert_same_names(exported, documented)
  assert.same({}, missing(exported, documented), "exported, but not documented")
  assert.same({}, missing(documented, exported), "documented, but not there")
end

-- Runs tests that need `command`, or says that they are skipped.
local function where_there(command, tests)
  if is_there(command) then
    tests()
  else
    print(("reference_spec: %s is not here; what it checks is skipped"):format(command))
  end
end

describe("the reference", function()
  where_there("ldoc", function()
    -- LDoc's items, and what it finds without a description.
    local function read_items()
      local result = run { "ldoc", "--filter", "spec.support.ldoc_items.print", "." }
      assert.equal("", result.stderr)
      local all, c_functions, bare = { remoteobj = {} }, {}, {}
      for kind, rest in result.stdout:gmatch "%f[^\n%z](%l+) ([^\n]+)" do
        local words = {}
        for word in rest:gmatch "%S+" do
          words[#words + 1] = word
        end
        if kind == "item" and words[1] == "remoteobj.h" then
          c_functions[words[3]] = true
        elseif kind == "item" then
          add(all, words[2] == "-" and words[1] or words[2], words[3])
        elseif kind == "class" then
          all[words[1]] = all[words[1]] or {}
        elseif kind == "option" then
          add(all, "options of " .. words[1], words[2])
        elseif kind == "bare" then
          bare[#bare + 1] = rest
        end
      end
      return all, c_functions, bare
    end

    -- A class that the module gives too, as the metatable of its errors, is described as a class.
    local function add_classes(all)
      for name in pairs(require "remoteobj") do
        if all[name] then
          all.remoteobj[name] = true
        end
      end
      return all
    end

    it("is made without warnings, and describes every kind of error", function()
      local folder = run({ "mktemp", "-d" }).stdout:match "[^\n]+"
      local result = run { "make", "doc", "BUILD=" .. folder }
      assert.equal("", result.stderr)
      assert.equal(0, result.code)
      local page <close> = assert(io.open(folder .. "/doc/modules/remoteobj.html"))
      local text = page:read "a"
      for kind in pairs(exports.kinds()) do
        assert.is_truthy(text:find("<code>" .. kind .. "</code>: ", 1, true), kind)
      end
      run { "rm", "-rf", folder }
    end)

    it("has all that the module exports, and nothing else", function()
      local all, _, bare = read_items()
      assert_same_names(exports.all(), add_classes(all))
      assert.same({}, bare, "without a description")
    end)

    it("has the functions for C hosts, and nothing else", function()
      local _, functions = read_items()
      local library = (os.getenv "BUILD" or "build") .. "/lib/libremoteobj.a"
      assert_same_names({ C = exports.c_functions(library) }, { C = functions })
    end)
  end)

  it("knows the kinds of errors that there are", function()
    local raised = {}
    for _, err in ipairs(exports.errors()) do
      raised[err.kind] = true
    end
    assert.same(exports.kinds(), raised)
  end)
end)

describe("the definitions for editors", function()
  local file = luacats.read(DEFINITIONS)

  -- Those of metamethods that definitions can speak of.
  local SPOKEN = { __call = true, __len = true, __concat = true }

  local function expressible(all)
    local result = {}
    for owner, names in pairs(all) do
      result[owner] = {}
      for name in pairs(names) do
        if not name:match "^__%l" or SPOKEN[name] then
          result[owner][name] = true
        end
      end
    end
    return result
  end

  -- Calls visit(class) for a class and all that it inherits from.
  local function each_ancestor(name, visit)
    local class = assert(file.classes[name], name)
    visit(class)
    for _, parent in ipairs(class.parents) do
      if file.classes[parent] then
        each_ancestor(parent, visit)
      end
    end
  end

  local function members(name)
    local set = {}
    each_ancestor(name, function(class)
      for _, kind in ipairs { class.fields, class.methods } do
        for member in pairs(kind) do
          set[member] = true
        end
      end
      for operator in pairs(class.operators) do
        set["__" .. operator] = true
      end
      set.__call = set.__call or #class.overloads > 0 or nil
    end)
    return set
  end

  -- The fields of the options that one of the function's forms takes; nil when it takes none.
  local function options_of(func)
    local forms = { func.params or {} }
    for _, overload in ipairs(func.overloads) do
      forms[#forms + 1] = overload.params
    end
    for _, params in ipairs(forms) do
      for _, param in ipairs(params) do
        for _, name in ipairs(luacats.names_in(param.type)) do
          if name:match "Options$" then
            return members(name)
          end
        end
      end
    end
  end

  local function documented()
    local all = { remoteobj = {} }
    for name in pairs(dofile(DEFINITIONS)) do
      all.remoteobj[name] = true
    end
    for name, func in pairs(file.functions) do
      all["options of " .. name:match "^remoteobj%.(.+)$"] = options_of(func)
    end
    local classes = {
      "Proxy", "Stats", "ProcessStats", "Times", "Operation", "Listening", "Future", "Process", "Thread", "Except",
      "Context", "Error", "RemoteError", "Callback", "Pool",
    }
    for _, owner in ipairs(classes) do
      all[owner] = members("remoteobj." .. owner)
      each_ancestor("remoteobj." .. owner, function(class)
        for name, func in pairs(class.methods) do
          all[("options of %s:%s"):format(owner, name)] = options_of(func)
        end
        local options = options_of { overloads = class.overloads }
        all[("options of %s:__call"):format(owner)] = all[("options of %s:__call"):format(owner)] or options
      end)
    end
    all.limits = members "remoteobj.limits"
    all.util = {}
    for name in pairs(dofile(DEFINITIONS).util) do
      all.util[name] = true
    end
    return all
  end

  it("have all that the module exports, and nothing else", function()
    assert_same_names(expressible(exports.all()), documented())
  end)

  it("have functions where there are functions", function()
    local remoteobj = require "remoteobj"
    for name, value in pairs(dofile(DEFINITIONS)) do
      local is_function = type(remoteobj[name]) == "function"
      assert.equal(is_function, type(value) == "function", name)
      assert.equal(is_function, file.functions["remoteobj." .. name] ~= nil, name)
    end
  end)

  it("have the kinds of errors, and no others", function()
    local kinds = {}
    for _, kind in ipairs(luacats.literals(file.aliases["remoteobj.ErrorKind"])) do
      kinds[kind] = true
    end
    assert.same(exports.kinds(), kinds)
  end)

  it("let no unknown option pass", function()
    for name, class in pairs(file.classes) do
      if name:match "Options$" and #class.parents == 0 then
        assert.equal("remoteobj.UnknownOption", (class.indexed.string or {}).name, name)
      end
    end
  end)

  where_there("lua-language-server", function()
    local folder

    before_each(function()
      folder = run({ "mktemp", "-d" }).stdout:match "[^\n]+"
      run { "mkdir", folder .. "/files" }
    end)

    after_each(function()
      run { "rm", "-rf", folder }
    end)

    local function write(name, text)
      local out <close> = assert(io.open(folder .. "/files/" .. name, "w"))
      assert(out:write(text))
    end

    -- The lines of the files in the folder that the server finds fault with: { [file] = { line, ... } }.
    local function faults()
      local root = run({ "pwd" }).stdout:match "[^\n]+"
      write(".luarc.json", ('{ "runtime.version": "Lua 5.4", "workspace.library": ["%s/library"] }'):format(root))
      run {
        "lua-language-server", "--check", folder .. "/files", "--checklevel=Warning", "--logpath=" .. folder .. "/log",
        "--metapath=" .. folder .. "/meta", "--check_format=json", "--check_out_path=" .. folder .. "/faults",
      }
      local out <close> = assert(io.open(folder .. "/faults"))
      local found = {}
      for file_name, list in pairs(require "cjson".decode(out:read "a")) do
        local lines = {}
        for _, fault in ipairs(list) do
          lines[#lines + 1] = math.tointeger(fault.range.start.line) + 1
        end
        table.sort(lines)
        found[file_name:match "[^/]+$"] = lines
      end
      return found
    end

    it("find no fault with the examples", function()
      for _, name in ipairs { "counter", "sampler" } do
        run { "cp", ("examples/%s.lua"):format(name), folder .. "/files" }
      end
      for _, name in ipairs { "README", "docs/editor" } do
        for _, block in ipairs(markdown.blocks(name .. ".md", "lua")) do
          if not block.text:find("pcall", 1, true) then -- whose error has the type of a result there
            write(("%s%d.lua"):format(name:match "%w+$", block.line), block.text)
          end
        end
      end
      assert.same({}, faults())
    end)

    it("find misspelled options, values of wrong types, and names that are not there", function()
      local wrong = [[
local remoteobj = require "remoteobj"
local remote = remoteobj.Proxy({}, { defualt = 1 }) -- wrong
remoteobj.Proxy({}, { timeout = "soon" }) -- wrong
remote:listen_ { background = true } -- wrong
remote:listen_ { bg = true, preempt = false }
remote:listen_ { bg = 1 } -- wrong
remote.x:get_ { timeout = "1" } -- wrong
remote.x:get_ { timeout = 1, default = "x" }
remote:with_ { prxy = true }:make() -- wrong
local process = remoteobj.process { print, 1, nmae_ = "x" } -- wrong
process = remoteobj.process { print, 1, name_ = "x" }
process = remoteobj.process(5) -- wrong
process:strat() -- wrong
remote:wait_until_listening(process, { timeot = 1 }) -- wrong
remote:wait_until_listening { timeout = 1 }
remoteobj.sleep "long" -- wrong
remoteobj.nap(1) -- wrong
remoteobj.Except { rises = false } -- wrong
remoteobj.Except()("name", { raises = 1 }) -- wrong
remoteobj.unpack("x", { codes = true }) -- wrong
]]
      local expected = {}
      local number = 0
      for line in wrong:gmatch "([^\n]*)\n" do
        number = number + 1
        expected[#expected + 1] = line:match "%-%- wrong$" and number or nil
      end
      write("wrong.lua", wrong)
      assert.same({ ["wrong.lua"] = expected }, faults())
    end)
  end)
end)
