#!/bin/sh
# Writes the Lua half of the library as C data (see src/embedded.h): the files' text, as it is, so that it serves
# every release of Lua 5.4 and messages name its lines.
# Usage: embed.sh lua/remoteobj/init.lua ... > embedded.c
set -e

echo '/* Written by scripts/embed.sh. */'
echo '#include "embedded.h"'

number=0
for file; do
  number=$((number + 1))
  echo
  echo "static const unsigned char text_$number[] = {"
  od -An -v -tu1 "$file" | sed 's/^ *//; s/  */,/g; s/$/,/'
  echo '};'
done

echo
echo 'const ro_EmbeddedFile ro_embedded_files[] = {'
number=0
for file; do
  number=$((number + 1))
  chunk=${file#lua/}
  module=$(echo "${chunk%.lua}" | sed 's,/init$,,; s,/,.,g')
  echo "    {\"$module\", \"@$chunk\", text_$number, sizeof text_$number},"
done
echo '    {NULL, NULL, NULL, 0}};'
