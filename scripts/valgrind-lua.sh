#!/bin/sh
# The interpreter, watched by valgrind: memory and descriptors. What it finds goes into files of build/valgrind/log, and
# any finding ends the process with 99. Children are watched alike.
#
# Usage: LUA=scripts/valgrind-lua.sh
mkdir -p build/valgrind/log
exec valgrind --quiet --error-exitcode=99 --track-fds=yes --trace-children=no --child-silent-after-fork=no \
  --fair-sched=yes --max-stackframe=4000000 --suppressions=spec/support/valgrind.supp \
  --log-file="build/valgrind/log/%p" lua5.4 "$@"
