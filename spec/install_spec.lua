-- The library is installed as a user would install it, and used from there: with make, and as a rock.
local script = require "spec.support.script"

local TIMEOUT = 300

-- Programs see the environment of a user's shell, not that of the specs.
local PLAIN = { LUA_PATH = false, LUA_CPATH = false, MAKEFLAGS = false, MFLAGS = false, MAKELEVEL = false }

local function run(command, folder, env)
  local result = script.run_command(command, { timeout = TIMEOUT, env = env or PLAIN, cwd = folder })
  local text = ("%s\n%s%s"):format(table.concat(command, " "), result.stdout, result.stderr)
  assert.equal(0, result.code, text)
  return result.stdout
end

local function lines_of(text)
  local lines = {}
  for line in text:gmatch "[^\n]+" do
    lines[#lines + 1] = line
  end
  return lines
end

-- Files and links below a folder that match a shell pattern, sorted.
local function files(folder, pattern)
  local found = lines_of(run { "find", folder, "!", "-type", "d", "-name", pattern })
  table.sort(found)
  return found
end

local function check_installed(root)
  local env = {
    LUA_PATH = ("%s/share/lua/5.4/?.lua;%s/share/lua/5.4/?/init.lua;;"):format(root, root),
    LUA_CPATH = ("%s/lib/lua/5.4/?.so;;"):format(root),
  }
  local output = run({ "lua5.4", "scripts/check-installed.lua", root }, nil, env)
  assert.equal(("the library in %s works\n"):format(root), output)
end

-- A copy of the sources alone, in a folder with a space in its name.
local work, copy
local function copy_sources()
  work = run({ "mktemp", "-d" }):match "[^\n]+"
  copy = work .. "/a copy"
  run { "mkdir", copy }
  run { "cp", "-r", "Makefile", "src", "lua", "scripts", "rockspec", "docs", "examples", "LICENSE", copy }
end

describe("make install", function()
  setup(copy_sources)
  teardown(function()
    run { "rm", "-rf", work }
  end)

  it("builds without warnings and puts the library where Lua looks for it", function()
    run({ "make", "-j2", "CFLAGS=-O1", "WERROR=1", "install", "PREFIX=/usr", "DESTDIR=" .. work .. "/a place" }, copy)
    check_installed(work .. "/a place/usr")
  end)

  it("installs every Lua file, the library for C hosts, and nothing else", function()
    local expected = {
      "include/remoteobj.h",
      "lib/libremoteobj.a",
      "lib/libremoteobj.so",
      "lib/libremoteobj.so.0",
      "lib/libremoteobj.so.0.1.0",
      "lib/lua/5.4/remoteobj/core.so",
      "lib/pkgconfig/remoteobj.pc",
    }
    for _, name in ipairs(files("lua/remoteobj", "*.lua")) do
      expected[#expected + 1] = name:gsub("^lua/", "share/lua/5.4/")
    end
    table.sort(expected)
    local installed = {}
    for i, name in ipairs(files(work .. "/a place", "*")) do
      installed[i] = name:sub(#work + #"/a place/usr/" + 1)
    end
    assert.same(expected, installed)
  end)

  it("has its own PREFIX by default", function()
    local told = run({ "make", "-n", "install" }, copy)
    assert.is_truthy(told:find('"/usr/local/lib/lua/5.4/remoteobj/core.so"', 1, true))
    assert.is_truthy(told:find('"/usr/local/share/lua/5.4/remoteobj"', 1, true))
  end)

  it("can be taken back", function()
    run({ "make", "CFLAGS=-O1", "WERROR=1", "uninstall", "PREFIX=/usr", "DESTDIR=" .. work .. "/a place" }, copy)
    assert.same({}, files(work .. "/a place", "*"))
  end)

  it("puts headers and libraries where it is told", function()
    local told = run({ "make", "-n", "install", "PREFIX=/p", "LIBDIR=/l l", "INCLUDEDIR=/i i", "DESTDIR=/d d" }, copy)
    for _, place in ipairs {
      '"/d d/l l/lua/5.4/remoteobj/core.so"', '"/d d/p/share/lua/5.4/remoteobj"', '"/d d/i i/remoteobj.h"',
      '"build/lib/libremoteobj.a" "/d d/l l"', '"/d d/l l/libremoteobj.so"', '"/d d/l l/pkgconfig/remoteobj.pc"',
    } do
      assert.is_truthy(told:find(place, 1, true), place)
    end
  end)
end)

describe("the rockspec", function()
  -- Reads a rockspec as luarocks does: its globals are the result.
  local function load_rockspec(name)
    local env = {}
    assert(loadfile(name, "t", env))()
    return env
  end

  for _, version in ipairs { "scm-1", "0.1.0-1" } do
    it(version .. " lists exactly the files that are there", function()
      local spec = load_rockspec(("rockspec/remoteobj-%s.rockspec"):format(version))
      assert.equal("remoteobj", spec.package)
      assert.equal(version, spec.version)
      local sources = table.move(spec.build.modules["remoteobj.core"].sources, 1, 1000, 1, {})
      table.move({ "src/library.c", "src/public.c" }, 1, 2, #sources + 1, sources) -- for C hosts alone
      table.sort(sources)
      assert.same(files("src", "*.c"), sources)
      local modules = {}
      for name, file in pairs(spec.build.modules) do
        if name ~= "remoteobj.core" then
          modules[#modules + 1] = file
          local path = "lua/" .. name:gsub("%.", "/")
          assert.is_true(file == path .. ".lua" or file == path .. "/init.lua", file)
        end
      end
      table.sort(modules)
      assert.same(files("lua", "*.lua"), modules)
    end)
  end

  it("is as the script that writes it has it", function()
    assert.equal("", run { "lua5.4", "scripts/rockspecs.lua", "check" })
  end)
end)

describe("luarocks", function()
  local there = script.run_command({ "luarocks", "--version" }).code == 0
  local test = there and it or pending

  setup(copy_sources)
  teardown(function()
    run { "rm", "-rf", work }
  end)

  test("finds no fault with the rockspecs", function()
    run { "luarocks", "--lua-version=5.4", "lint", "rockspec/remoteobj-scm-1.rockspec" }
    run { "luarocks", "--lua-version=5.4", "lint", "rockspec/remoteobj-0.1.0-1.rockspec" }
  end)

  test("makes a rock that works", function()
    -- The system's luaposix is no rock: dependencies are not looked up.
    run({
      "luarocks", "--lua-version=5.4", "--tree=" .. work .. "/tree", "make", "--deps-mode=none",
      "rockspec/remoteobj-scm-1.rockspec",
    }, copy)
    check_installed(work .. "/tree")
  end)
end)
