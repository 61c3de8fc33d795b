#!/bin/sh
# Packs the last commit of this checkout as a source rock and, built for this machine, as a binary rock. Both
# install without a network.
#
# Usage: rock.sh FOLDER   where the rocks go
set -e
mkdir -p "$1"
folder=$(cd "$1" && pwd)
${LUA:-lua5.4} scripts/rockspecs.lua "$folder" "$(pwd)"
cd "$folder"
luarocks --lua-version=5.4 pack remoteobj-scm-1.rockspec
luarocks --lua-version=5.4 build --pack-binary-rock --deps-mode=none remoteobj-scm-1.src.rock
