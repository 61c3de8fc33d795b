#!/bin/sh
# Does all operations of the specs once under valgrind, and closes the state: no memory may be used wrongly or lost, in
# no process, and no descriptor be left. (The specs themselves leave descriptors open as they end, and children do, which
# end by _exit.) Valgrind knows too few of Linux's own calls: it watches the build with POSIX alone.
#
# Usage: valgrind.sh PROGRAM   which is spec/support/scarce.c
set -u
logs=$(mktemp -d) || exit 1
trap 'rm -rf "$logs"' EXIT

cat >"$logs/all.lua" <<'END'
local operations = dofile "spec/support/operations.lua"
operations.begin()
for _, operation in ipairs(operations) do
  local made = operation.make()
  operation.run(made)
  operation.check(made)
  print(operation.name)
end
operations.finish()
END

valgrind --quiet --leak-check=full --errors-for-leak-kinds=definite --show-leak-kinds=definite --track-fds=yes \
  --fair-sched=yes --log-file="$logs/log.%p" "$1" "$logs/all.lua" 3<&- &
pid=$!
wait "$pid"
status=$?
[ "$status" -eq 0 ] || echo "valgrind: the operations ended with $status"

# What is wrong with memory, of any process; which descriptors are left, of the first one.
for log in "$logs"/log.*; do
  if grep -q 'Invalid\|uninitialised\|lost in loss record\|overlap' "$log"; then
    cat "$log"
    status=1
  fi
done
if grep -A 3 'Open .* descriptor\|Open .*socket' "$logs/log.$pid" | grep -q 'at 0x'; then
  cat "$logs/log.$pid"
  status=1
fi
[ "$status" -eq 0 ] && echo "valgrind: nothing to complain of in $(ls "$logs"/log.* | wc -l) processes"
exit "$status"
