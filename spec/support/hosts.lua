-- For specs about C hosts: the library installed as a user would install it, and programs built against that with
-- nothing but pkg-config. Where the specs run on an instrumented build, both are instrumented alike.
local installation = require "spec.support.installation"
local script = require "spec.support.script"

local hosts = {}

local run = installation.run
local work

--- How they are instrumented, as options of the compiler; nil if they are not. Then nothing can be linked statically.
hosts.instrumented = os.getenv "REMOTEOBJ_TEST_CFLAGS"

local CC = hosts.instrumented and os.getenv "CC" or "cc"
-- That of clang says that it is not meant for C.
local CXX = hosts.instrumented and CC:gsub("clang", "clang++") .. " -Wno-deprecated" or "g++"
local CFLAGS = "-O1 -g " .. (hosts.instrumented or "")
local EXTRA_OBJECTS = hosts.instrumented and os.getenv "EXTRA_OBJECTS" or "" -- what else is in programs of this build

--- Builds and installs the library into a folder with a space in its name. To be paired with `clean`.
function hosts.install()
  local copy
  copy, work = installation.make_folder()
  installation.copy_sources(copy)
  hosts.prefix = work .. "/a place/usr"
  hosts.libdir = hosts.prefix .. "/lib"
  local command = { "make", "-j2", "CC=" .. CC, "CFLAGS=" .. CFLAGS, "WERROR=1", "install", "PREFIX=" .. hosts.prefix }
  command[#command + 1] = hosts.instrumented and "COMMANDS=build/bin/remoteobj" or nil
  run(command, copy)
end

function hosts.clean()
  run { "rm", "-rf", work }
  work = nil
end

--- The environment of whoever builds or runs a program that uses what is installed.
function hosts.environment()
  return { PKG_CONFIG_PATH = hosts.libdir .. "/pkgconfig", LD_LIBRARY_PATH = hosts.libdir }
end

--- Builds an example of examples/ by its own makefile; `how` may be "static" or "c++". Returns the program.
function hosts.make_example(name, how)
  local folder = ("%s/%s %s"):format(work, name, how or "")
  local command = { "make", "CC=" .. (how == "c++" and CXX or CC), "CFLAGS=" .. CFLAGS .. " -Wall -Wextra -Werror" }
  command[#command + 1] = how == "static" and "STATIC=1" or nil
  run { "cp", "-r", "examples/" .. name, folder }
  run(command, folder, hosts.environment())
  return ("%s/build/%s"):format(folder, name)
end

--- Compiles one C file into a C module for scripts, with the public functions inside.
-- @return its file
function hosts.compile_module(file, name)
  local module = ("%s/%s.so"):format(work, name)
  run({
    "sh", "-c",
    ([[eval "%s %s -Wall -Wextra -Werror -fPIC -shared -o \"\$1\" \"\$2\" $(pkg-config --cflags remoteobj)" '"$3"']])
      :format(CC, CFLAGS),
    "sh", module, file, hosts.libdir .. "/libremoteobj.a",
  }, nil, hosts.environment())
  return module
end

--- Compiles one C file; `how` may be "static" or "c++".
-- @return the program
function hosts.compile(file, how)
  local program = ("%s/%s"):format(work, file:match "([^/]*)%.%w*$")
  local compiler = how == "c++" and CXX .. " -x c++" or CC .. " -std=c11 -D_GNU_SOURCE"
  local static = how == "static" and "-static" or ""
  local flags = ("$(pkg-config --cflags --libs %s remoteobj)"):format((static:gsub("^%-", "--")))
  local command = ([[eval "%s %s -Wall -Wextra -Werror -pthread %s -o \"\$1\" \"\$2\" %s %s"]])
    :format(compiler, CFLAGS, static, how == "c++" and "" or EXTRA_OBJECTS, flags)
  run({ "sh", "-c", command, "sh", program, file }, nil, hosts.environment())
  return program
end

local function environment(more)
  local env = { LUA_PATH = false, LUA_CPATH = false }
  for _, source in ipairs { hosts.environment(), more or {} } do
    for name, value in pairs(source) do
      env[name] = value
    end
  end
  return env
end

--- Starts a program; options as of script.start_command.
function hosts.start(command, options)
  options = options or {}
  options.env = environment(options.env)
  return script.start_command(command, options)
end

--- Runs a program to its end.
function hosts.run(command, options)
  options = options or {}
  options.env = environment(options.env)
  return script.run_command(command, options)
end

return hosts
