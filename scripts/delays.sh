#!/bin/sh
# Runs spec files while calls of the system and of threads are slow at random (spec/support/delays.c). What is printed
# first is how to make the same choices again; which thread comes when is the machine's choice all the same.
#
# Usage: delays.sh SHIM JOBS FILE|FOLDER...
# Variables: SEED (default: any), CHANCE (of a delay, 0 to 1), LONGEST (milliseconds); and those of run-specs.sh
set -eu
shim=$1
shift
seed=${SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
echo "delays: SEED=$seed CHANCE=$CHANCE LONGEST=$LONGEST"

# The names in LD_PRELOAD are separated by spaces, and the checkout may lie in a folder that has some in its name.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp "$shim" "$folder/delays.so"

# A library that can't be preloaded is passed over with a message; this one complains where it is told nonsense.
if LD_PRELOAD="$folder/delays.so" REMOTEOBJ_DELAYS=nonsense "${LUA:-lua5.4}" -v >/dev/null 2>&1; then
  echo "delays: ${LUA:-lua5.4} does not load $shim" >&2
  exit 1
fi

export REMOTEOBJ_DELAYS="$seed $CHANCE $LONGEST" REMOTEOBJ_SLOWNESS=3
BUSTED="env LD_PRELOAD=$folder/delays.so ${BUSTED:-busted}" sh scripts/run-specs.sh "$@"
