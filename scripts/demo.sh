#!/bin/sh
# Runs the examples, one after the other, saying which.
set -e
for example in examples/counter.lua examples/sampler.lua; do
  echo
  echo "== $example"
  "${LUA:-lua5.4}" "$example"
done
