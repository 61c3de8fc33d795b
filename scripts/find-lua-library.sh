#!/bin/sh
# Prints what links Lua 5.4 into a program: its static library, else, or on demand, the option for the shared one.
# Usage: find-lua-library.sh COMPILER [shared]
for name in lua5.4 lua-5.4 lua54 lua; do
  file=$($1 -print-file-name="lib$name.a")
  if [ "${2:-}" != shared ] && grep -qs 'LuaVersion: Lua 5\.4' "$file"; then
    echo "$file"
    exit
  fi
done
pkg-config --libs lua5.4 2>/dev/null || pkg-config --libs lua-5.4 2>/dev/null || echo -llua5.4
