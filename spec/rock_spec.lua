-- The library as a rock: LuaRocks itself builds, packs, installs and tests it, without a server to ask, in
-- folders with spaces in their names.
local installation = require "spec.support.installation"

local run, files = installation.run, installation.files

local ROCKSPEC = "rockspec/remoteobj-scm-1.rockspec"

describe("the rockspecs", function()
  it("are as the script that writes them has them", function()
    assert.equal("", run { "lua5.4", "scripts/rockspecs.lua", "check" })
  end)
end)

if installation.try({ "luarocks", "--version" }).code ~= 0 then
  print "rock_spec: LuaRocks is not installed, and nothing is built with it"
  return
end

describe("luarocks", function()
  local work, clone, config

  local function write(name, text)
    local file <close> = assert(io.open(name, "w"))
    assert(file:write(text))
  end

  local function arguments(words)
    return { "luarocks", "--lua-version=5.4", table.unpack(words) }
  end

  local function luarocks(folder, ...)
    return run(arguments { ... }, folder, { LUAROCKS_CONFIG = config })
  end

  local function tree(name)
    return "--tree=" .. work .. "/" .. name
  end

  -- A clone of the sources as they are now, committed or not.
  setup(function()
    clone, work = installation.make_folder()
    config = work .. "/config.lua"
    write(config, "rocks_servers = {}\n")
    installation.copy_sources(clone)
    run({ "git", "init", "--quiet" }, clone)
    run({ "git", "add", "." }, clone)
    run({ "git", "-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "--quiet", "-m", "all" }, clone)
  end)
  teardown(function()
    run { "rm", "-rf", work }
  end)

  it("finds no fault with the rockspecs", function()
    for _, name in ipairs(files("rockspec", "*.rockspec")) do
      luarocks(nil, "lint", name)
    end
  end)

  it("makes a rock that works with Lua alone", function()
    luarocks(clone, tree "first tree", "make", ROCKSPEC)
    installation.check(work .. "/first tree")
  end)

  it("installs every Lua file, and a module that shows nothing but how it is opened", function()
    local root = work .. "/first tree"
    assert.equal(#files("lua/remoteobj", "*.lua"), #files(root .. "/share/lua/5.4", "*.lua"))
    local modules = files(root .. "/lib/lua/5.4", "*.so")
    assert.equal(1, #modules)
    local symbols = installation.lines_of(run { "nm", "--dynamic", "--defined-only", modules[1] })
    assert.is_true(#symbols > 0)
    for _, line in ipairs(symbols) do
      assert.is_truthy(line:match " T luaopen_remoteobj[%w_]*$", line)
    end
  end)

  -- Compiles a host; `liblua` is how it is linked with Lua.
  local function make_host(name, liblua)
    local host = work .. "/" .. name
    local include = "-I" .. run({ "sh", "scripts/find-lua-headers.sh" }):match "[^\n]+"
    run { "cc", include, "-o", host, "spec/support/script_host.c", "-Wl,-E", liblua, "-lm", "-ldl" }
    return host
  end

  it("makes a rock that works in hosts with Lua as a shared library", function()
    local host = make_host("shared host", "-llua5.4")
    assert.is_truthy(run({ "ldd", host }):find("liblua", 1, true))
    installation.check(work .. "/first tree", host)
  end)

  it("makes a rock that works in hosts that have Lua inside", function()
    local host = make_host("static host", "-l:liblua5.4.a")
    assert.is_nil(run({ "ldd", host }):find("liblua", 1, true))
    installation.check(work .. "/first tree", host)
  end)

  it("packs what it has installed, and installs that elsewhere", function()
    local told = luarocks(work, tree "first tree", "pack", "remoteobj")
    local rock = told:match "Packed: ([^\n]+%.rock)"
    assert.is_nil(rock:match "%.src%.rock$")
    luarocks(work, tree "second tree", "install", rock)
    installation.check(work .. "/second tree")
  end)

  it("installs what make packs of a clone: a source rock, and a binary rock", function()
    run({ "make", "rock" }, clone, { LUAROCKS_CONFIG = config })
    local rocks = files(clone .. "/build/rock", "*.rock")
    assert.equal(2, #rocks)
    assert.is_truthy(rocks[2]:match "/remoteobj%-scm%-1%.src%.rock$")
    for i, rock in ipairs(rocks) do
      local name = "tree of rock " .. i
      luarocks(work, tree(name), "install", rock)
      installation.check(work .. "/" .. name)
    end
  end)

  it("removes it without a trace", function()
    luarocks(work, tree "second tree", "remove", "remoteobj")
    assert.same({}, files(work .. "/second tree", "*.so"))
    assert.same({}, files(work .. "/second tree", "*.lua"))
  end)

  it("tests it, and tells when a test fails", function()
    run { "mkdir", clone .. "/spec" }
    write(clone .. "/spec/sum_spec.lua", [[
      it("packs a value", function()
        local remoteobj = require "remoteobj"
        assert.equal(tonumber(os.getenv "EXPECTED"), remoteobj.unpack(remoteobj.pack(4)))
      end)
    ]])
    local outcome = { ["4"] = "\n1 success / 0 failures", ["5"] = "\n0 successes / 1 failure" }
    for expected, totals in pairs(outcome) do
      local env = { LUAROCKS_CONFIG = config, EXPECTED = expected }
      local result = installation.try(arguments { "test", ROCKSPEC }, clone, env)
      local text = result.stdout .. result.stderr
      assert.is_truthy(text:find(totals, 1, true), text)
      assert.equal(expected == "4", result.code == 0, text)
    end
  end)
end)
