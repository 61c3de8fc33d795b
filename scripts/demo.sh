#!/bin/sh
# Runs the examples, one after the other, saying which.
set -e
lua=${LUA:-lua5.4}

run() {
  echo
  echo "== $1"
  "$lua" "$1"
}

# The same, of one that needs a module which is not installed for it.
run_with() {
  if "$lua" -e "require '$1'" 2>/dev/null; then
    run "$2"
  fi
}

run examples/counter.lua
run examples/sampler.lua
run_with posix.poll examples/loop_poll.lua
run_with cqueues examples/loop_cqueues.lua
run_with luv examples/loop_luv.lua
