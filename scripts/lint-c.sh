#!/bin/sh
# Analyses C sources: clang-tidy with the checks of .clang-tidy, or cppcheck where there is no clang-tidy.
# Usage: lint-c.sh LUA_INCDIR FILE...
set -e
headers=$1
shift
[ $# -gt 0 ] || exit 0
processors=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
if command -v clang-tidy >/dev/null; then
  mkdir -p build
  echo "clang-tidy of $# files"
  printf '%s\n' "$@" | xargs -P "$processors" -I FILE clang-tidy --quiet --warnings-as-errors='*' FILE -- \
    -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Isrc -isystem "$headers" 2>build/clang-tidy.log || {
    cat build/clang-tidy.log >&2
    exit 1
  }
elif command -v cppcheck >/dev/null; then
  cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,performance,portability --inline-suppr \
    -j "$processors" -D_GNU_SOURCE -Isrc "$@"
else
  echo "lint: neither clang-tidy nor cppcheck is here" >&2
  exit 1
fi
