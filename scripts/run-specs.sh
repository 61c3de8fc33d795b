#!/bin/sh
# Runs spec files side by side, each in a busted process of its own: most of them wait more than they compute. Says how
# each went as it ends, shows at the end what the failing ones have printed, and closes with one line of totals, like
# busted's. A file that prints no totals, or prints them twice (a child process that found its way back into busted), or
# that does not end, has failed.
#
# Usage: run-specs.sh JOBS FILE|FOLDER...
# Variables: BUSTED ("busted"), BUSTED_ARGS, SPEC_LIMIT (seconds that a file may take, 600)
set -u
export LC_ALL=C

# Those that take longest begin first, so that none of them is alone at the end.
LONGEST="rock garbage scarcity host bombs lock bench fuzz install examples bulk patch codec pairs listen preempt process"

# One file, as `xargs` starts it: leaves its output, and a line "SUCCESSES FAILURES ERRORS PENDING" behind.
run_file() {
  log=$work/$(echo "$1" | tr '/ ' '__')
  begun=$(date +%s)
  # shellcheck disable=SC2086 # commands and options of several words
  timeout -k 10 "${SPEC_LIMIT:-600}" ${BUSTED:-busted} --output=plainTerminal ${BUSTED_ARGS:-} "$1" \
    </dev/null >"$log.log" 2>&1
  status=$?
  seconds=$(($(date +%s) - begun))
  totals=$(sed -n 's/^\([0-9]*\) success[es]* \/ \([0-9]*\) failures* \/ \([0-9]*\) errors* \/ \([0-9]*\) pending.*/\1 \2 \3 \4/p' "$log.log")
  # shellcheck disable=SC2086 # the counts are words
  set -- "$1" $totals
  if [ $status -eq 124 ] || [ $status -eq 137 ]; then
    problem="does not end"
  elif [ $# -ne 5 ]; then
    problem="$(echo "$totals" | grep -c .) lines of totals instead of one"
  elif [ $(($3 + $4)) -gt 0 ]; then
    problem="$(($3 + $4)) failed"
  elif [ $status -ne 0 ] || [ $(($2 + $5)) -eq 0 ]; then
    problem="ended with $status after $2 successes"
  else
    echo "$2 $3 $4 $5" >"$log.totals"
    printf '%-34s %3d passed %4d s\n' "$1" "$2" "$seconds"
    return
  fi
  if [ $# -eq 5 ] && [ $(($3 + $4)) -gt 0 ]; then
    echo "$2 $3 $4 $5" >"$log.totals"
  else
    echo "0 0 1 0" >"$log.totals"
  fi
  printf '%-34s FAILED: %s, %d s\n' "$1" "$problem" "$seconds"
  mv "$log.log" "$log.failed"
}

if [ "$1" = --one ]; then
  work=$2
  run_file "$3"
  exit
fi

jobs=$1
shift
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# The files that are meant, the longest first.
find "$@" -name '*_spec.lua' | sort >"$work/all"
for name in $LONGEST; do
  grep "/${name}_spec.lua$" "$work/all"
done >"$work/first"
{ cat "$work/first"; grep -vxFf "$work/first" "$work/all"; } >"$work/files"

xargs -P "$jobs" -I FILE sh "$0" --one "$work" FILE <"$work/files"

for log in "$work"/*.failed; do
  [ -f "$log" ] || continue
  echo
  echo "== $(basename "$log" .failed)"
  cat "$log"
done
cat "$work"/*.totals 2>/dev/null | awk -v files="$(grep -c . "$work/files")" '
  { success += $1; failures += $2; errors += $3; pending += $4; n++ }
  END {
    errors += files - n
    printf "%d successes / %d failures / %d errors / %d pending : %d files\n", success, failures, errors, pending, files
    exit success == 0 || failures + errors > 0
  }'
