#!/bin/sh
# Writes remoteobj.pc. Where pkg-config knows the Lua that the library was built with, programs get that with it.
# Usage: pkg-config.sh VERSION PREFIX LIBDIR INCLUDEDIR LUA_INCDIR > remoteobj.pc
set -e
version=$1 prefix=$2 libdir=$3 includedir=$4 lua_incdir=$5

# The name that pkg-config has for the Lua whose headers are in $lua_incdir, if it has one.
lua_package() {
  for name in lua5.4 lua-5.4 lua54; do
    folder=$(pkg-config --cflags-only-I "$name" 2>/dev/null | sed 's/^-I//; s/ *$//')
    if [ -n "$folder" ] && [ "$folder" = "$lua_incdir" ]; then
      echo "$name"
      return
    fi
  done
}

# Below the prefix as such, so that the tree may be moved.
below_prefix() {
  case $1 in
  "$prefix"/*) echo "\${prefix}${1#"$prefix"}" ;;
  *) echo "$1" ;;
  esac
}

lua=$(lua_package)
cat <<END
prefix=$prefix
libdir=$(below_prefix "$libdir")
includedir=$(below_prefix "$includedir")

Name: remoteobj
Description: Remote objects for Lua 5.4: use an object of another process as if it were here
Version: $version
Requires: $lua
Libs: -L"\${libdir}" -lremoteobj
Libs.private: -pthread
Cflags: -I"\${includedir}"$([ -n "$lua" ] || echo " -I\"$lua_incdir\"")
END
