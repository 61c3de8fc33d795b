-- Written by scripts/rockspecs.lua.
rockspec_format = "3.0"
package = "remoteobj"
version = "0.1.0-1"
source = {
  url = "git+file://.",
  tag = "v0.1.0",
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
}
build = {
  type = "make", -- which hides the symbols of the module, and builds it as every other way of building does
  build_target = "module",
  install_target = "install-module",
  variables = {
    BUILD = "build/rock",
    CFLAGS = "$(CFLAGS)",
    LUA = "$(LUA)",
    LUA_INCDIR = "$(LUA_INCDIR)",
    INSTALL_CMOD = "$(LIBDIR)",
    INSTALL_LMOD = "$(LUADIR)",
  },
  copy_directories = { "docs", "examples", "library" },
}
test = {
  type = "command",
  command = "make check",
}
