-- What the benchmark ran on, and with which versions.
local utsname = require "posix.sys.utsname"

local machine = {}

local function first_line(command)
  local pipe <close> = assert(io.popen(command .. " 2>/dev/null"))
  return pipe:read "l"
end

local function field(file_name, pattern)
  local file <close> = io.open(file_name)
  return file and file:read("a"):match(pattern)
end

--- The processor, how many there are, the memory in GiB, and the kernel.
function machine.describe()
  local system = utsname.uname()
  return {
    cpu = field("/proc/cpuinfo", "model name%s*:%s*([^\n]+)") or system.machine,
    cpus = tonumber(first_line "getconf _NPROCESSORS_ONLN"),
    memory = math.floor(tonumber(field("/proc/meminfo", "MemTotal:%s*(%d+)") or 0) / 2 ^ 20 + 0.5),
    kernel = ("%s %s"):format(system.sysname, system.release),
  }
end

local function module_version(name, key)
  local ok, module = pcall(require, name)
  local version = ok and (module[key] or module._VERSION)
  return version and tostring(version):match "%d[%w.]*" or nil
end

--- Name and version of all that takes part. What is not here is not in it.
function machine.versions()
  return {
    Lua = (first_line((os.getenv "LUA" or "lua5.4") .. " -v") or _VERSION):match "Lua ([%d.]+)",
    luaposix = require("posix").version:match "luaposix ([%d.]+)",
    compiler = first_line((os.getenv "CC" or "cc") .. " --version"),
    Python = (first_line "python3 --version" or ""):match "[%d.]+",
    ["lua-cmsgpack"] = module_version("cmsgpack", "_VERSION"),
    ["lua-cjson"] = module_version("cjson", "_VERSION"),
    cqueues = module_version("cqueues", "VERSION"),
    revision = first_line "git describe --always --dirty",
  }
end

return machine
