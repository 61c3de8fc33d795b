-- Written by scripts/rockspecs.lua, which lists the files.
rockspec_format = "3.0"
package = "remoteobj"
version = "scm-1"
source = {
  url = "git+file://.",
}
description = {
  summary = "Use an object of another process as if it were here",
  detailed = "Proxies for objects that live in a related process: operations on a proxy are sent over a "
    .. "private connection, run there by a background listener, and their results and errors come back. With "
    .. "processes, results, yields and errors that cross them.",
  labels = { "process", "proxy", "fork", "rpc", "multiprocessing" },
  license = "MIT",
}
supported_platforms = { "linux" }
dependencies = {
  "lua ~> 5.4",
  "luaposix >= 35",
}
build = {
  type = "builtin",
  modules = {
    ["remoteobj.core"] = {
      sources = {
        "src/base/atfork.c",
        "src/base/buffer.c",
        "src/base/error.c",
        "src/base/scratch.c",
        "src/sys/door.c",
        "src/sys/event.c",
        "src/sys/frame.c",
        "src/sys/life.c",
        "src/sys/link.c",
      },
      incdirs = { "src" },
      defines = { "_GNU_SOURCE" },
      libraries = { "pthread" },
    },
    ["remoteobj.classes"] = "lua/remoteobj/classes.lua",
  },
  copy_directories = { "docs", "examples" },
}
