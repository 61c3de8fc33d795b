#!/bin/sh
# Prints the folder that holds the headers of Lua 5.4.
for name in lua5.4 lua-5.4 lua54; do
  folder=$(pkg-config --cflags-only-I "$name" 2>/dev/null | sed 's/^-I//; s/ *$//')
  if [ -n "$folder" ] && [ -f "$folder/lua.h" ]; then
    echo "$folder"
    exit
  fi
done
for folder in /usr/include/lua5.4 /usr/include/lua54 /usr/include/lua/5.4 /usr/local/include/lua5.4 \
  /usr/local/include /usr/include; do
  if grep -qs 'define LUA_VERSION_MINOR[^0-9]*"4"' "$folder/lua.h"; then
    echo "$folder"
    exit
  fi
done
echo /usr/include/lua5.4
