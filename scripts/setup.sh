#!/bin/sh
# Installs what is missing on this machine, and says what it does and why. When nothing is missing it does
# nothing, quickly.
#
# Usage: setup.sh run    to build and run the library: Lua 5.4 and its headers
#        setup.sh bench  also what the benchmark compares it with
#        setup.sh test   also what the specs use
#        setup.sh lint   also what checks the sources
#        setup.sh sanitize  to build and run the library on instrumented builds, and what fuzzing uses
#        setup.sh doc    only what makes the reference
#
# For each thing the first that works: it is there already; the distribution's package; Debian 13's package
# (of Lua modules that older releases have not built for Lua 5.4); LuaRocks. What is marked optional may fail
# to install: the specs that need it are then pending, the rows of the benchmark missing.

level=${1:-run}
tried=build/setup # remembers what could not be installed, so that it is not tried each time
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

say() {
  echo "setup: $*"
}

die() {
  echo "setup: $*" >&2
  exit 1
}

case $level in
run | bench | test | lint | sanitize | doc) ;;
*) die "what is '$level'? One of run, bench, test, lint, sanitize, doc" ;;
esac

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  else
    sudo -E "$@"
  fi
}

may_install() {
  [ "$(id -u)" = 0 ] || command -v sudo >/dev/null
}

# Runs a command that talks much: what it says is shown only when it fails.
quietly() {
  "$@" </dev/null >"$scratch/log" 2>&1 && return 0
  cat "$scratch/log" >&2
  return 1
}

apt() {
  quietly as_root apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"
}

# ---- what is there ----

has_command() {
  command -v "$1" >/dev/null 2>&1
}

has_module() {
  has_command lua5.4 && LUA_PATH=';;' LUA_CPATH=';;' lua5.4 -e "require '$1'" >/dev/null 2>&1
}

has_headers() {
  [ -f "$(sh scripts/find-lua-headers.sh)/lua.h" ]
}

# Can the compiler $1 make programs with the sanitizers and the fuzzer?
has_runtimes() {
  for runtime in address thread fuzzer; do
    echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' | "$1" -fsanitize="$runtime" -shared -xc -o /dev/null - >/dev/null 2>&1 ||
      return 1
  done
}

# Is the thing called $1 there?
has() {
  case $1 in
  lua5.4) has_command lua5.4 ;;
  headers) has_headers ;;
  compiler) echo '#include <stdio.h>' | cc -E -xc - >/dev/null 2>&1 ;;
  luaposix) has_module posix ;;
  busted) has_command busted && has_module busted.runner ;;
  cqueues | luv | socket | cjson | cmsgpack | dkjson) has_module "$1" ;;
  penlight) has_module pl.class ;;
  multilib) echo 'int main(void) { return 0; }' | cc -m32 -xc -o /dev/null - >/dev/null 2>&1 ;;
  lua-source) [ -f build/lua-source/src/lua.h ] ;;
  sanitizers) has_runtimes clang-19 || has_runtimes clang ;;
  luacheck | valgrind | ldoc | luarocks | musl-gcc | pkg-config | g++ | clang | clang-tidy | clang-format) has_command "$1" ;;
  *) die "no such thing: $1" ;;
  esac
}

# The package and the rock ("-": none) of the thing called $1.
package_of() {
  case $1 in
  headers) echo liblua5.4-dev ;;
  compiler) echo gcc libc6-dev ;;
  luaposix) echo lua-posix ;;
  luacheck) echo lua-check ;;
  multilib) echo gcc-multilib ;;
  musl-gcc) echo musl-tools ;;
  ldoc) echo lua-ldoc ;;
  sanitizers) if is_packaged clang-19; then echo clang-19 libclang-rt-19-dev; else echo clang libclang-rt-dev; fi ;;
  busted | cqueues | luv | socket | cjson | cmsgpack | dkjson | penlight) echo "lua-$1" ;;
  *) echo "$1" ;;
  esac
}

rock_of() {
  case $1 in
  luaposix | busted | cqueues | luv | dkjson | penlight | luacheck | ldoc) echo "$1" ;;
  socket) echo luasocket ;;
  cjson) echo lua-cjson ;;
  cmsgpack) echo lua-cmsgpack ;;
  *) echo - ;;
  esac
}

why() {
  case $1 in
  lua5.4) echo "the library runs on it" ;;
  headers | compiler) echo "the library is built with it" ;;
  busted) echo "runs the specs" ;;
  luaposix | dkjson) echo "the specs and the benchmark use it" ;;
  mandoc) echo "checks the manual page" ;;
  luarocks) echo "a spec builds and installs the rock" ;;
  ldoc) echo "makes the reference" ;;
  pkg-config | g++) echo "the specs build C and C++ hosts with it" ;;
  multilib | musl-gcc | lua-source) echo "make portability uses it" ;;
  sanitizers | valgrind) echo "the specs run on builds that are checked by it" ;;
  luacheck | clang | clang-tidy | clang-format) echo "checks the sources" ;;
  *) echo "some specs and rows of the benchmark use it" ;;
  esac
}

# ---- ways to install ----

lists_are_fresh=
refresh_lists() {
  if [ -z "$lists_are_fresh" ]; then
    say "fetching the distribution's lists of packages"
    apt update || say "some lists could not be fetched; going on with those at hand"
    lists_are_fresh=yes
  fi
}

# Has the distribution a package $1 that serves? Packages of Lua modules say for which versions they are built;
# those of luacheck and LDoc bring programs, which run on any.
is_packaged() {
  apt-cache show "$1" 2>/dev/null >"$scratch/package" && [ -s "$scratch/package" ] || return 1
  case $1 in lua-check | lua-ldoc) return 0 ;; esac
  versions=$(grep '^Lua-Versions:\|^Provides:.*lua5\.[1-3]-' "$scratch/package")
  [ -z "$versions" ] || echo "$versions" | grep -q '5\.4'
}

from_distribution() {
  has_command apt-get || return 1
  refresh_lists
  for name; do
    for package in $(package_of "$name"); do
      is_packaged "$package" || return 1
    done
  done
  # shellcheck disable=SC2046 # several words are several packages
  set -- $(for name; do package_of "$name"; done)
  say "installing the distribution's $*"
  apt install --no-install-recommends "$@"
}

# Where this machine gets Debian's packages from.
mirror() {
  cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
    sed -n -e 's/^URIs:[[:space:]]*\([^[:space:]]*\).*/\1/p' \
      -e 's/^deb[[:space:]]*\[[^]]*\][[:space:]]*\([^[:space:]]*\).*/\1/p' \
      -e 's/^deb[[:space:]]*\([^[[:space:]][^[:space:]]*\).*/\1/p' |
    grep '/debian/*$' | head -n 1
}

# apt with lists of its own, that know alone what $1, "sources" or "deb-src", says.
apt_of() {
  where=$1
  shift
  quietly apt-get -q -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$scratch/$where" \
    -o Dir::State::Lists="$scratch/$where.lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
    -o APT::Sandbox::User=root "$@"
}

trixie() {
  apt_of sources "$@"
}

# The sources of Lua, to be built as the library is tried: only they come in this way.
from_sources() {
  [ "$1" = lua-source ] && has_command apt-get && grep -qs '^ID=debian' /etc/os-release || return 1
  mirror=$(mirror)
  release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
  [ -n "$mirror" ] && [ -n "$release" ] || return 1
  say "fetching the sources of Lua 5.4"
  mkdir -p "$scratch/deb-src" "$scratch/deb-src.lists/partial" build/lua-source
  echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
    "$mirror $release main" >"$scratch/deb-src/sources.list"
  apt_of deb-src update && (cd "$scratch" && apt_of deb-src source --download-only lua5.4) || return 1
  tar -xzf "$scratch"/lua5.4_*.orig.tar.gz -C build/lua-source --strip-components=1
}

from_trixie() {
  package=$(package_of "$1")
  has_command apt-get && grep -qs '^ID=debian' /etc/os-release || return 1
  case $package in lua-*) ;; *) return 1 ;; esac
  mirror=$(mirror)
  [ -n "$mirror" ] || return 1
  say "$package of this distribution has no modules for Lua 5.4; fetching Debian 13's"
  if [ ! -d "$scratch/sources" ]; then
    mkdir -p "$scratch/sources" "$scratch/sources.lists/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
      "$mirror trixie main" >"$scratch/sources/trixie.list"
    trixie update || return 1
  fi
  (cd "$scratch" && rm -f ./*.deb && trixie download "$package/trixie") || return 1
  # What it depends on comes from this distribution; apt refuses where that can't be.
  apt install --no-install-recommends "$scratch"/"$package"_*.deb
}

from_luarocks() {
  rock=$(rock_of "$1")
  [ "$rock" != - ] || return 1
  has_command luarocks || from_distribution luarocks || return 1
  say "installing the rock $rock"
  quietly as_root luarocks --lua-version=5.4 install "$rock"
}

obtain() {
  say "$1 is missing ($(why "$1"))"
  for way in from_sources from_distribution from_trixie from_luarocks; do
    if $way "$1" && has "$1"; then
      return 0
    fi
  done
  return 1
}

# ---- what is needed ----

needed="compiler lua5.4 headers"
optional=
case $level in
bench)
  needed="$needed luaposix dkjson"
  optional="cqueues cjson cmsgpack"
  ;;
test)
  needed="$needed luaposix dkjson busted"
  optional="luarocks ldoc pkg-config g++ cqueues luv socket penlight cjson cmsgpack"
  ;;
lint)
  needed="$needed luaposix dkjson busted luarocks luacheck clang-format pkg-config g++"
  optional="ldoc cqueues luv socket penlight cjson cmsgpack clang clang-tidy multilib musl-gcc lua-source"
  ;;
sanitize)
  needed="$needed luaposix dkjson busted sanitizers"
  optional="valgrind pkg-config g++ cqueues luv socket penlight cjson cmsgpack"
  ;;
doc)
  needed=ldoc
  ;;
esac

missing=
for name in $needed; do
  has "$name" || missing="$missing $name"
done
missing_optional=
for name in $optional; do
  has "$name" || [ -e "$tried/$name" ] || missing_optional="$missing_optional $name"
done

if [ -z "$missing$missing_optional" ]; then
  exit 0
fi

may_install || die "missing:$missing$missing_optional; neither root nor sudo here: please have them installed"
scratch=$(mktemp -d) || exit 1
chmod 755 "$scratch"
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$tried"

# What the distribution has is installed in one go, the rest one by one.
say "missing:$missing$missing_optional"
if has_command apt-get; then
  refresh_lists
  together=
  for name in $missing $missing_optional; do
    packaged=yes
    for package in $(package_of "$name"); do
      is_packaged "$package" || packaged=
    done
    [ -z "$packaged" ] || together="$together $name"
  done
  # shellcheck disable=SC2086 # several words are several things
  [ -z "$together" ] || from_distribution $together || say "not all of them at once; trying one by one"
fi

for name in $missing; do
  has "$name" || obtain "$name" || die "$name could not be installed ($(why "$name")); please install it"
done
for name in $missing_optional; do
  if ! has "$name" && ! obtain "$name"; then
    say "$name could not be installed; what uses it is left out ('make clean' has it tried again)"
    : >"$tried/$name"
  fi
done
say "everything needed is there"
