#!/bin/sh
# The interpreter of specs that valgrind watches (make check-valgrind). What only looks after a script (supervise.lua) is not.
program=$BUILD/bin/remoteobj
case $program in /*) ;; *) program=$(dirname "$0")/../../$program ;; esac
[ "$1" = -E ] && exec "$program" "$@"
exec sh "$(dirname "$0")/../../scripts/valgrind.sh" --run "$program" "$@"
