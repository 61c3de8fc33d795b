#!/bin/sh
# Runs specs under valgrind, each file in a process of its own, and first all operations once (docs/testing.md). No process
# may use memory wrongly. In those that have closed their state none may be lost, and no descriptor of the library's be
# left; others end by _exit, or are killed, with all they have.
#
# Usage: valgrind.sh JOBS FILE...           as scripts/run-specs.sh
#        valgrind.sh --run PROGRAM ARG...   a program under valgrind, which leaves its log in the folder VALGRIND_LOGS
#        valgrind.sh --apart COMMAND...     a command whose programs have a folder for themselves: ids of processes come again
# Variables: BUILD, and those of scripts/run-specs.sh
set -u

case $1 in
--run)
  shift
  exec valgrind --quiet --leak-check=full --errors-for-leak-kinds=definite --show-leak-kinds=definite --track-fds=yes \
    --suppressions="$(dirname "$0")/../spec/support/valgrind.supp" --fair-sched=yes --num-callers=20 \
    --log-file="$VALGRIND_LOGS/%p.log" "$@" 3<&-
  ;;
--apart)
  shift
  VALGRIND_LOGS=$(mktemp -d "$VALGRIND_LOGS/XXXXXX") || exit 1
  export VALGRIND_LOGS
  exec "$@"
  ;;
esac

VALGRIND_LOGS=$(mktemp -d) || exit 1
export VALGRIND_LOGS
trap 'rm -rf "$VALGRIND_LOGS"' EXIT
status=0

cat >"$VALGRIND_LOGS/all.lua" <<'END'
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
sh "$0" --run "$BUILD/spec/scarce" "$VALGRIND_LOGS/all.lua" >"$VALGRIND_LOGS/all.out" || {
  cat "$VALGRIND_LOGS/all.out"
  echo "valgrind: the operations have failed"
  status=1
}
BUSTED="sh $0 --apart ${BUSTED:-busted}" sh scripts/run-specs.sh "$@" || status=1

# Was memory used wrongly, or is something left that the state has not given back.
complains() {
  if grep -q 'Invalid\|uninitialised\|unaddressable\|overlap\|Mismatched\|silly' "$1"; then return; fi
  if grep -q 'invalid address\|not within mapped\|Bad permissions\|General Protection' "$1"; then return; fi
  grep -q 'the state was closed' "$1" || return 1
  grep -q 'definitely lost in loss record' "$1" ||
    sed -n '/^==[0-9]*== Open .*\(descriptor\|socket\)/,/^==[0-9]*== *$/p' "$1" | grep -q ': ro_'
}

find "$VALGRIND_LOGS" -name '*.log' >"$VALGRIND_LOGS/all"
wrong=0
while read -r log; do
  if complains "$log"; then
    cat "$log"
    wrong=$((wrong + 1))
  fi
done <"$VALGRIND_LOGS/all"
closed=$(xargs grep -l 'the state was closed' <"$VALGRIND_LOGS/all" | wc -l)
echo "valgrind: $(wc -l <"$VALGRIND_LOGS/all") processes, $closed of which have closed their state; $wrong have done something wrong"
[ "$status" -eq 0 ] && [ "$wrong" -eq 0 ]
