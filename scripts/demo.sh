#!/bin/sh
# Runs the examples, one after the other, saying which.
set -e
lua=${LUA:-lua5.4}

# Runs an example, with what arguments it is given.
run() {
  echo
  echo "== $1"
  "$lua" "$@"
}

# The same, of one that needs modules which are not installed for it.
run_with() {
  example=$1
  shift
  for module; do
    "$lua" -e "require '$module'" 2>/dev/null || return 0
  done
  run "$example"
}

run examples/counter.lua
run examples/sampler.lua
run examples/supervised.lua
run examples/word_count.lua docs
run examples/mandelbrot.lua "${BUILD:-build}/mandelbrot.png"
run_with examples/loop_poll.lua posix
run_with examples/loop_cqueues.lua posix cqueues
run_with examples/loop_luv.lua posix luv
