-- The library is installed with make, as a user would install it, and used from there.
local installation = require "spec.support.installation"

local run, files = installation.run, installation.files

describe("make install", function()
  local work, copy
  setup(function()
    copy, work = installation.make_folder()
    installation.copy_sources(copy)
  end)
  teardown(function()
    run { "rm", "-rf", work }
  end)

  it("builds without warnings and puts the library where Lua looks for it", function()
    run({ "make", "-j2", "CFLAGS=-O1", "WERROR=1", "install", "PREFIX=/usr", "DESTDIR=" .. work .. "/a place" }, copy)
    installation.check(work .. "/a place/usr")
  end)

  it("installs the Lua files, the library for C hosts, the command, what editors read, and nothing else", function()
    local expected = {
      "bin/remoteobj",
      "include/remoteobj.h",
      "lib/libremoteobj.a",
      "lib/libremoteobj.so",
      "lib/libremoteobj.so.0",
      "lib/libremoteobj.so.0.1.0",
      "lib/lua/5.4/remoteobj.so",
      "lib/pkgconfig/remoteobj.pc",
      "share/man/man1/remoteobj.1",
      "share/remoteobj/library/remoteobj.lua",
    }
    if #files(copy .. "/build/bin", "remoteobj-static") > 0 then
      expected[#expected + 1] = "bin/remoteobj-static"
    end
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
    assert.is_truthy(told:find('"/usr/local/lib/lua/5.4/remoteobj.so"', 1, true))
    assert.is_truthy(told:find('"/usr/local/share/lua/5.4/remoteobj"', 1, true))
  end)

  it("installs a command that has the library inside", function()
    local command = work .. "/a place/usr/bin/remoteobj"
    assert.equal("42\n", run({ command, "-l", "remoteobj", "-e", "print(remoteobj.unpack(remoteobj.pack(42)))" }, "/"))
  end)

  it("can be taken back", function()
    run({ "make", "CFLAGS=-O1", "WERROR=1", "uninstall", "PREFIX=/usr", "DESTDIR=" .. work .. "/a place" }, copy)
    assert.same({}, files(work .. "/a place", "*"))
  end)

  it("puts headers and libraries where it is told", function()
    local told = run({ "make", "-n", "install", "PREFIX=/p", "LIBDIR=/l l", "INCLUDEDIR=/i i", "DESTDIR=/d d" }, copy)
    for _, place in ipairs {
      '"/d d/l l/lua/5.4/remoteobj.so"', '"/d d/p/share/lua/5.4/remoteobj"', '"/d d/i i/remoteobj.h"',
      '"build/lib/libremoteobj.a" "/d d/l l"', '"/d d/l l/libremoteobj.so"', '"/d d/l l/pkgconfig/remoteobj.pc"',
    } do
      assert.is_truthy(told:find(place, 1, true), place)
    end
  end)
end)
