#!/bin/sh
# Builds the library in the ways in which systems differ, warnings being errors: with gcc and clang, with and without
# Linux's own calls, for 32 bits, and against musl. What it builds it also runs, with a Lua that is built
# alike where the sources of Lua are at hand (build/lua-source, which setup.sh fetches, or LUA_SOURCE). Says for each
# way whether it ran, was compiled only, or was left out and why. Ends with 0 when nothing has failed.
#
# Usage: portability.sh   from the top folder; MAKE may name the make to use
set -u
unset NO_LINUX BUILD MAKEFLAGS MFLAGS MAKELEVEL
make=${MAKE:-make}
top=$(pwd)
root=build/portability
headers=$(sh scripts/find-lua-headers.sh)
source=${LUA_SOURCE:-build/lua-source}
failed=0

tell() {
  printf '%-28s %s\n' "$1" "$2"
}

fail() {
  tell "$1" "FAILED: $2"
  failed=$((failed + 1))
}

# Can the compiler "$1" make programs at all?
works() {
  echo 'int main(void) { return 0; }' >"$root/empty.c"
  $1 -o "$root/empty" "$root/empty.c" 2>/dev/null
}

# The headers of Lua without those of another C library or machine beside them.
copy_headers() {
  mkdir -p "$root/include"
  cp "$headers"/*.h "$root/include"
  for file in /usr/include/*/lua5.4-deb-multiarch.h; do
    if [ -f "$file" ]; then
      cp "$file" "$root/include"
    fi
  done
}

# A Lua of the compiler "$2" below the folder $1.
build_lua() {
  mkdir -p "$1"
  [ -x "$1/lua" ] && return
  # shellcheck disable=SC2046,SC2086 # a compiler may be several words
  (cd "$source/src" &&
    $2 -O1 -DLUA_USE_POSIX -DLUA_USE_DLOPEN -Wl,-E -o "$top/$1/lua" $(echo ./*.c | sed 's#\./luac\.c##') -lm -ldl) \
    >"$1/log" 2>&1
}

# Runs a script that uses the module below the folder $2 with the interpreter $1.
run() {
  LUA_PATH="lua/?.lua;lua/?/init.lua" LUA_CPATH="$2/lib/?.so" timeout 60 "$1" scripts/check-portability.lua
}

# try NAME COMPILER NO_LINUX LUA: LUA is "own" for a Lua that has to be built alike, else an interpreter
try() {
  folder=$root/$(echo "$1" | tr -c 'a-z0-9\n' '-')
  mkdir -p "$folder"
  interpreter=$4
  incdir=$headers
  if [ "$4" = own ]; then
    incdir=$root/include
    interpreter=
    if [ -f "$source/src/lua.h" ]; then
      incdir=$source/src
      lua_folder=$root/lua-$(echo "$2" | tr -c 'a-z0-9\n' '-')
      build_lua "$lua_folder" "$2" || fail "$1" "Lua could not be built: $(tail -n 1 "$lua_folder/log")"
      interpreter=$lua_folder/lua
    fi
  fi
  if ! $make --no-print-directory -s BUILD="$folder" CC="$2" NO_LINUX="$3" WERROR=1 CFLAGS="-O1 -g" \
    LUA_INCDIR="$incdir" module >"$folder/log" 2>&1; then
    cat "$folder/log"
    fail "$1" "not built"
  elif [ -z "$interpreter" ]; then
    tell "$1" "built, not run: the sources of Lua are not here"
  elif run "$interpreter" "$folder" >"$folder/log" 2>&1; then
    tell "$1" "built and run"
  else
    cat "$folder/log"
    fail "$1" "built, but does not run"
  fi
}

# both NAME COMPILER LUA: with and without Linux's own calls
both() {
  if works "$2"; then
    try "$1" "$2" 0 "$3"
    try "$1, POSIX alone" "$2" 1 "$3"
  else
    tell "$1" "left out: $2 is not here or makes no programs"
  fi
}

mkdir -p "$root"
copy_headers
both gcc gcc "${LUA:-lua5.4}"
both clang clang "${LUA:-lua5.4}"
both "gcc, 32 bits" "gcc -m32" own
both "clang, 32 bits" "clang -m32 -march=i686" own
both musl musl-gcc own
[ "$failed" -eq 0 ]
