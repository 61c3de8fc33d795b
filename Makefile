# remoteobj: `make help` lists what can be made.
#
# All paths are relative, so that the checkout may lie in a folder with spaces in its name.

CC = cc
CFLAGS = -O2 -g
WERROR = 0
V = 0
# 1: with what POSIX has alone, as on systems that lack Linux's own calls; in a folder of its own.
NO_LINUX = 0
POSIX_ONLY = $(filter-out 0,$(NO_LINUX))
BUILD = $(if $(POSIX_ONLY),build/no-linux,build)
PREFIX = /usr/local
LIBDIR = $(PREFIX)/lib
INCLUDEDIR = $(PREFIX)/include
DESTDIR =
LUA = lua5.4
LUA_VERSION = 5.4
BUSTED = busted --lua=$(LUA)
BUSTED_ARGS =
SPEC = spec

LUA_INCDIR := $(or $(LUA_INCDIR),$(shell sh scripts/find-lua-headers.sh))

OBJCOPY = objcopy

WARNINGS = -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes $(if $(filter-out 0,$(WERROR)),-Werror)
FEATURES = $(if $(POSIX_ONLY),-D_XOPEN_SOURCE=700 -DRO_NO_LINUX,-D_GNU_SOURCE) -D_FILE_OFFSET_BITS=64
ALL_CFLAGS = -std=c11 $(CFLAGS) $(WARNINGS) -fPIC -fvisibility=hidden $(FEATURES) -pthread -Isrc -isystem "$(LUA_INCDIR)"
# A thread of the library may still return through its code when Lua unloads the module: it stays loaded.
ALL_LDFLAGS = -shared -pthread -Wl,-z,nodelete -Wl,-z,relro,-z,now $(LDFLAGS)

SOURCES = $(wildcard src/*.c src/*/*.c)
C_FILES = $(wildcard src/*.[ch] src/*/*.[ch] cmd/*.[ch] cmd/*/*.[ch] bench/reference/*.c examples/*/*.[ch] spec/support/*.c spec/fuzz/*.[ch])
OBJECTS = $(SOURCES:src/%.c=$(BUILD)/obj/%.o)
LUA_SOURCES = $(wildcard lua/remoteobj/*.lua)

# The C module that scripts require, and the library for C hosts: both have the Lua half inside, so that each is whole
# by itself. What only one of them has is src/module.c, and the public functions, which stand alone.
MODULE = $(BUILD)/lib/remoteobj.so
HEADER = src/remoteobj.h
VERSION := $(shell sed -n 's/^#define REMOTEOBJ_VERSION "\(.*\)"/\1/p' $(HEADER))
SONAME = libremoteobj.so.$(firstword $(subst ., ,$(VERSION)))
SHARED_LIBRARY = $(BUILD)/lib/libremoteobj.so.$(VERSION)
STATIC_LIBRARY = $(BUILD)/lib/libremoteobj.a
EMBEDDED = $(BUILD)/obj/embedded
LIBRARY_OBJECTS = $(filter-out $(BUILD)/obj/module.o $(BUILD)/obj/public.o,$(OBJECTS)) $(EMBEDDED).o

# The command: the interpreter with the library inside. The C library stays shared, for the C modules that scripts load;
# where there is a static one, another command is made that needs nothing at all, and loads no C modules.
COMMAND = $(BUILD)/bin/remoteobj
COMMAND_OBJECTS = $(patsubst cmd/%.c,$(BUILD)/obj/cmd/%.o,$(wildcard cmd/*.c))
STATIC_COMMAND = $(BUILD)/bin/remoteobj-static
STATIC_OBJECTS = $(COMMAND_OBJECTS) $(patsubst cmd/%.c,$(BUILD)/obj/cmd/%.o,$(wildcard cmd/static/*.c))
LUA_LIBRARY := $(or $(LUA_LIBRARY),$(shell sh scripts/find-lua-library.sh "$(CC)"))
STATIC_PARTS := $(wildcard $(shell $(CC) -print-file-name=libc.a)) $(filter %.a,$(LUA_LIBRARY))
COMMANDS = $(COMMAND) $(if $(word 2,$(STATIC_PARTS)),$(STATIC_COMMAND))

BINDIR = $(PREFIX)/bin
MANDIR = $(PREFIX)/share/man
# Where Lua looks for modules: LuaRocks has places of its own.
INSTALL_LMOD = $(DESTDIR)$(PREFIX)/share/lua/$(LUA_VERSION)
INSTALL_CMOD = $(DESTDIR)$(LIBDIR)/lua/$(LUA_VERSION)

# Where editors are told to look (docs/editor.md).
DEFINITIONS = $(DESTDIR)$(PREFIX)/share/remoteobj/library

# Short lines for what is being built; whole commands with V=1.
Q = $(if $(filter-out 0,$(V)),,@)
say = $(if $(Q),@echo '  $(1)')

# What runs out of the checkout finds the modules that were built in it.
export LUA_PATH = lua/?.lua;lua/?/init.lua;;
export LUA_CPATH = $(BUILD)/lib/?.so;;
export LUA
export NO_LINUX
export BUILD

.PHONY: all module library command demo test check bench setup portability lint lint-man lint-lua lint-c lint-format lint-gcc lint-clang format
.PHONY: rockspecs rock install install-module install-library install-command uninstall clean help
.DELETE_ON_ERROR:
.SUFFIXES:

all: module library command

module: $(MODULE)

library: $(SHARED_LIBRARY) $(STATIC_LIBRARY)

command: $(COMMANDS)

# A core.so in a folder of its own, which earlier builds made, would be found before this one.
$(MODULE): $(LIBRARY_OBJECTS) $(BUILD)/obj/module.o
	@mkdir -p $(@D)
	@rm -rf $(@D)/remoteobj
	$(call say,LINK $@)
	$(Q)$(CC) $(ALL_CFLAGS) -o $@ $^ $(ALL_LDFLAGS)

# The symbols of Lua stay open: the program has them, be it that it links Lua statically.
$(SHARED_LIBRARY): $(LIBRARY_OBJECTS) $(BUILD)/obj/public.o
	@mkdir -p $(@D)
	$(call say,LINK $@)
	$(Q)$(CC) $(ALL_CFLAGS) -o $@ $^ -Wl,-soname,$(SONAME) $(ALL_LDFLAGS)

# One object, in which what the sources hide from each other's users is local; and the public functions.
$(STATIC_LIBRARY): $(BUILD)/obj/remoteobj.o $(BUILD)/obj/public.o
	@mkdir -p $(@D)
	$(call say,AR $@)
	$(Q)rm -f $@
	$(Q)$(AR) rc $@ $^

$(BUILD)/obj/remoteobj.o: $(LIBRARY_OBJECTS)
	$(Q)$(CC) $(filter-out -fsanitize=%,$(CFLAGS)) -r -nostdlib -o $@ $^
	$(Q)$(OBJCOPY) --localize-hidden $@

$(EMBEDDED).c: $(LUA_SOURCES) scripts/embed.sh $(BUILD)/obj/flags
	$(call say,EMBED $@)
	$(Q)LC_ALL=C sh scripts/embed.sh $(LUA_SOURCES) > $@

$(EMBEDDED).o: $(EMBEDDED).c src/embedded.h
	$(call say,CC $<)
	$(Q)$(CC) $(ALL_CFLAGS) -c -o $@ $<

# What programs of this build have besides; for check-tsan.
EXTRA_OBJECTS =

$(COMMAND): $(COMMAND_OBJECTS) $(EXTRA_OBJECTS) $(STATIC_LIBRARY)
	@mkdir -p $(@D)
	$(call say,LINK $@)
	$(Q)$(CC) $(ALL_CFLAGS) -o $@ $^ $(LUA_LIBRARY) -Wl,-E -Wl,-z,relro,-z,now $(LDFLAGS) -lm -ldl
	@echo "  SIZE $$(size $@ | awk 'NR == 2 { print int($$4 / 1024) }') KiB, with the C library shared"

# For small machines: without symbols, and with functions of its own that load nothing.
DLFCN = dlopen dlsym dlclose dlerror
$(STATIC_COMMAND): $(STATIC_OBJECTS) $(STATIC_LIBRARY)
	@mkdir -p $(@D)
	$(call say,LINK $@)
	$(Q)$(CC) $(ALL_CFLAGS) -static -s $(DLFCN:%=-Wl,--wrap=%) -o $@ $^ $(LUA_LIBRARY) $(LDFLAGS) -lm
	@echo "  SIZE $$(($$(wc -c < $@) / 1024)) KiB, static"

$(BUILD)/obj/cmd/%.o: cmd/%.c $(BUILD)/obj/flags
	@mkdir -p $(@D)
	$(call say,CC $<)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/obj/%.o: src/%.c $(BUILD)/obj/flags
	@mkdir -p $(@D)
	$(call say,CC $<)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# Changes when the compiler or its options do, and everything is built anew then.
$(BUILD)/obj/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(subst ','\'',$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS)) $(SOURCES) $(LUA_SOURCES)' | cmp -s - $@ || \
	  echo '$(subst ','\'',$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS)) $(SOURCES) $(LUA_SOURCES)' > $@

.PHONY: FORCE
FORCE:

-include $(OBJECTS:.o=.d) $(STATIC_OBJECTS:.o=.d)

# The targets that a fresh machine begins with install first what is missing, then call make again: the
# headers of Lua are looked for when a makefile is read.
PARALLEL = $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1))

demo:
	@sh scripts/setup.sh run
	@$(MAKE) --no-print-directory $(PARALLEL) all
	@sh scripts/demo.sh

test:
	@sh scripts/setup.sh test
	@$(MAKE) --no-print-directory $(PARALLEL) all
	@$(MAKE) --no-print-directory check

# The specs with what is there: in one process, or with JOBS=2 or more that many files at a time.
JOBS = 1
check: all
ifeq ($(JOBS),1)
	$(BUSTED) $(BUSTED_ARGS) $(SPEC)
else
	@BUSTED="$(BUSTED)" BUSTED_ARGS="$(BUSTED_ARGS)" sh scripts/run-specs.sh $(JOBS) $(SPEC)
endif

# The specs on instrumented builds, in folders of their own (docs/testing.md). They are run by the command of the same
# build: an interpreter with the library inside needs nothing preloaded. Older runtimes than those of clang 18 may hang in the
# children of programs with threads. With DELAYS=1 calls are slow at random besides, as in check-delays.
SANITIZING_CC = $(firstword $(foreach name,clang-19 clang-18 clang,$(if $(shell command -v $(name)),$(name))))
SANITIZE_asan = -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
SANITIZE_tsan = -fno-omit-frame-pointer -fsanitize=thread
UNINSTRUMENTED = bench rock install reference
INSTRUMENTED_SPECS = $(filter-out $(UNINSTRUMENTED:%=spec/%_spec.lua),$(wildcard spec/*_spec.lua))
check-asan check-tsan: SPEC = $(if $(DELAYS),$(filter-out $(UNDELAYED:%=spec/%_spec.lua),$(INSTRUMENTED_SPECS)),$(INSTRUMENTED_SPECS))
check-tsan: INSTRUMENTED = EXTRA_OBJECTS=build/tsan/obj/spec/tsan.o LUA_LIBRARY="$$(sh scripts/find-lua-library.sh $(SANITIZING_CC) shared)"
check-asan check-tsan: check-%: sanitizing
	@. scripts/sanitizers.sh && REMOTEOBJ_SANITIZED=$* REMOTEOBJ_SLOWNESS=3 REMOTEOBJ_TEST_CFLAGS="$(SANITIZE_$*)" \
	  $(MAKE) --no-print-directory $(PARALLEL) $(if $(DELAYS),check-delays,check) BUILD=build/$* JOBS=$(JOBS) SPEC="$(SPEC)" \
	  CC=$(SANITIZING_CC) CFLAGS="-O1 -g $(SANITIZE_$*)" \
	  COMMANDS=build/$*/bin/remoteobj LUA=build/$*/bin/remoteobj $(INSTRUMENTED)

# Not instrumented: it runs where the runtime of the sanitizer may be called, but where it was not told of anything yet.
$(BUILD)/obj/spec/%.o: spec/support/%.c $(BUILD)/obj/flags
	@mkdir -p $(@D)
	$(call say,CC $<)
	$(Q)$(CC) $(filter-out -fsanitize=%,$(ALL_CFLAGS)) -D_GNU_SOURCE -c -o $@ $<

.PHONY: sanitizing check-asan check-tsan check-valgrind check-delays
sanitizing:
	@sh scripts/setup.sh sanitize

# Under valgrind, which knows too few of Linux's own calls: those whose programs are what is watched, and that don't measure time.
WATCHED = async callback classes clients codec except failure future lifecycle listen lock loops no_answer original pairs patch pool \
  preempt process proxy races readme refs signals super thread throw timeout trace util values_over_proxy
check-valgrind: SPEC = $(WATCHED:%=spec/%_spec.lua)
check-valgrind: sanitizing
	@REMOTEOBJ_SANITIZED=valgrind REMOTEOBJ_SLOWNESS=10 $(MAKE) --no-print-directory $(PARALLEL) check-watched BUILD=build/valgrind JOBS=$(JOBS) SPEC="$(SPEC)" \
	  NO_LINUX=1 CFLAGS="-O1 -g" LDFLAGS=-Wl,--wrap=lua_close EXTRA_OBJECTS=build/valgrind/obj/spec/valgrind.o \
	  COMMANDS=build/valgrind/bin/remoteobj LUA=spec/support/valgrind_lua.sh

.PHONY: check-watched
check-watched: all spec-programs
	@BUSTED="$(BUSTED)" BUSTED_ARGS="$(BUSTED_ARGS)" SPEC_LIMIT=3000 sh scripts/valgrind.sh $(JOBS) $(SPEC)

# The specs while calls of the system and of threads are slow at random (docs/testing.md). SEED makes the choices of a run
# again; CHANCE is that of a delay, at each call, LONGEST how many milliseconds it may last.
SEED =
UNDELAYED = bench rock install reference examples
CHANCE = 0.03
LONGEST = 3
check-delays: SPEC = $(filter-out $(UNDELAYED:%=spec/%_spec.lua),$(wildcard spec/*_spec.lua))
check-delays: JOBS = 4
check-delays: all spec-programs
	@BUSTED="$(BUSTED)" BUSTED_ARGS="$(BUSTED_ARGS)" CHANCE="$(CHANCE)" LONGEST="$(LONGEST)" SEED="$(SEED)" \
	  sh scripts/delays.sh $(BUILD)/spec/delays.so $(JOBS) $(SPEC)

# An interpreter for specs, in which memory and system calls fail when the script says so. Spec files that run
# side by side may make it at once: none finds a half of it.
WRAPPED = $(shell sed -n 's/^  X.[^,]*, \([a-z0-9_]*\),.*/\1/p' spec/support/failing.c)
.PHONY: spec-programs
spec-programs: $(BUILD)/spec/scarce $(BUILD)/spec/delays.so
$(BUILD)/spec/scarce: spec/support/scarce.c spec/support/failing.c spec/support/failing.h $(EXTRA_OBJECTS) $(STATIC_LIBRARY)
	@mkdir -p $(@D)
	$(call say,CC $<)
	$(Q)$(CC) $(ALL_CFLAGS) -D_GNU_SOURCE $(WRAPPED:%=-Wl,--wrap=%) -Wl,--wrap=clock_gettime -o $@.$$$$ $(filter %.c %.o %.a,$^) $(LUA_LIBRARY) -Wl,-E $(LDFLAGS) -lm -ldl && mv $@.$$$$ $@

# Never instrumented: it is preloaded into programs that have no runtime of a sanitizer. What it defines is seen.
$(BUILD)/spec/delays.so: spec/support/delays.c $(BUILD)/obj/flags
	@mkdir -p $(@D)
	$(call say,CC $<)
	$(Q)$(CC) $(filter-out -fsanitize=% -fvisibility=hidden,$(ALL_CFLAGS)) -D_GNU_SOURCE -shared -o $@.$$$$ $< -ldl && mv $@.$$$$ $@

# Bytes from elsewhere (docs/testing.md): programs that replay files, which the specs build, and the same with a fuzzer. What
# the fuzzer finds new it puts beside the build; spec/corpus holds the few that the specs replay. Leaks are looked for when a target
# ends, not after each input: a state keeps its garbage for a while.
FUZZED = unpack frames requests answers bodies
FUZZ_MAIN = spec/fuzz/replay.c
SECONDS = 60
$(BUILD)/fuzz/%: spec/fuzz/%.c spec/fuzz/state.c spec/fuzz/state.h $(FUZZ_MAIN) $(LIBRARY_OBJECTS)
	@mkdir -p $(@D)
	$(call say,CC $<)
	$(Q)$(CC) $(ALL_CFLAGS) -D_GNU_SOURCE -Wl,--wrap=luaL_loadbufferx -o $@ $(filter %.c %.o,$^) $(LUA_LIBRARY) $(LDFLAGS) -lm -ldl

.PHONY: fuzz fuzz-replay
fuzz-replay: $(FUZZED:%=$(BUILD)/fuzz/%)

fuzz: sanitizing
	@$(MAKE) --no-print-directory $(PARALLEL) BUILD=build/fuzz CC=$(SANITIZING_CC) FUZZ_MAIN= LDFLAGS=-fsanitize=fuzzer \
	  CFLAGS="-O1 -g $(SANITIZE_asan) -fsanitize=fuzzer-no-link" fuzz-replay
	@for target in $(FUZZED); do \
	  mkdir -p build/fuzz/corpus/$$target && \
	  build/fuzz/fuzz/$$target -max_total_time=$(SECONDS) -timeout=20 -rss_limit_mb=2048 -detect_leaks=0 -print_final_stats=1 \
	    -artifact_prefix=build/fuzz/$$target- build/fuzz/corpus/$$target spec/corpus/$$target || exit 1; \
	done

# Everything at random, with random kills; SEED does a run again, ROUND one of its rounds again and again.
ROUND =
.PHONY: soak
soak: all
	@$(LUA) scripts/soak.lua seconds=$(SECONDS) $(SEED:%=seed=%) $(ROUND:%=round=%)

# A whole run leaves its results in bench/; one of some rows, or a quick one, only below $(BUILD).
BENCH_BUILD = $(BUILD)/bench
ROWS ?=
QUICK ?= 0
BENCH_RESULTS = $(if $(ROWS)$(filter-out 0,$(QUICK)),$(BENCH_BUILD),bench)

bench: export BENCH_BUILD := $(BENCH_BUILD)
bench:
	@sh scripts/setup.sh bench
	@$(MAKE) --no-print-directory $(PARALLEL) all $(BENCH_BUILD)/pipes $(BENCH_BUILD)/frames.so
	@$(LUA) bench/run.lua "$(BENCH_RESULTS)"
	@$(if $(filter bench,$(BENCH_RESULTS)),$(LUA) bench/document.lua bench/results.json docs/performance.md)

$(BENCH_BUILD)/%: bench/reference/%.c $(BUILD)/obj/flags
	@mkdir -p $(@D)
	$(call say,CC $<)
	$(Q)$(CC) $(ALL_CFLAGS) -D_GNU_SOURCE -o $@ $<

$(BENCH_BUILD)/frames.so: bench/reference/frames.c $(filter $(BUILD)/obj/sys/% $(BUILD)/obj/base/%,$(OBJECTS))
	@mkdir -p $(@D)
	$(call say,LINK $@)
	$(Q)$(CC) $(ALL_CFLAGS) -o $@ $^ $(ALL_LDFLAGS)

# LDoc has a Lua of its own: the modules in the checkout are not for it. Its warnings are errors.
.PHONY: doc
doc:
	@sh scripts/setup.sh doc
	$(call say,LDOC $(BUILD)/doc/index.html)
	$(Q)env -u LUA_PATH -u LUA_CPATH ldoc --fatalwarnings --dir $(BUILD)/doc . >/dev/null

setup:
	@sh scripts/setup.sh lint

lint:
	@sh scripts/setup.sh lint
	@$(MAKE) --no-print-directory --keep-going lint-man lint-lua lint-format lint-c lint-gcc lint-clang
	@echo "lint: clean"

lint-man:
	@if command -v mandoc >/dev/null; then mandoc -Tlint man/remoteobj.1; fi

lint-lua:
	luacheck --quiet lua spec examples scripts bench

lint-format:
	@echo "clang-format of $(words $(C_FILES)) files"
	@clang-format --dry-run -Werror $(C_FILES)

format:
	clang-format -i $(C_FILES)

lint-c:
	@sh scripts/lint-c.sh "$(LUA_INCDIR)" $(SOURCES) $(wildcard cmd/*.c cmd/*/*.c bench/reference/*.c examples/*/*.c)

# Both compilers, as one warns of what the other lets pass; in folders of their own.
lint-gcc:
	@$(MAKE) --no-print-directory $(PARALLEL) BUILD=build/lint-gcc CC=gcc WERROR=1 all

lint-clang:
	@if command -v clang >/dev/null; then \
	  $(MAKE) --no-print-directory $(PARALLEL) BUILD=build/lint-clang CC=clang WERROR=1 all; \
	else \
	  echo "lint: no clang here, gcc alone has checked the warnings"; \
	fi

portability:
	@sh scripts/setup.sh lint
	@MAKE="$(MAKE)" sh scripts/portability.sh

rockspecs:
	$(LUA) scripts/rockspecs.lua

rock:
	@sh scripts/rock.sh "$(BUILD)/rock"

# Everything that is put in place, and where.
INSTALLED_LIBRARIES = libremoteobj.a libremoteobj.so.$(VERSION) $(SONAME) libremoteobj.so pkgconfig/remoteobj.pc

install: install-module install-library install-command install-editor

install-command: command
	mkdir -p "$(DESTDIR)$(BINDIR)" "$(DESTDIR)$(MANDIR)/man1"
	install -m 755 $(COMMANDS) "$(DESTDIR)$(BINDIR)"
	install -m 644 man/remoteobj.1 "$(DESTDIR)$(MANDIR)/man1"

install-module: module
	mkdir -p "$(INSTALL_CMOD)" "$(INSTALL_LMOD)/remoteobj"
	install -m 755 "$(MODULE)" "$(INSTALL_CMOD)/remoteobj.so"
	install -m 644 $(LUA_SOURCES) "$(INSTALL_LMOD)/remoteobj"

install-library: library
	mkdir -p "$(DESTDIR)$(LIBDIR)/pkgconfig" "$(DESTDIR)$(INCLUDEDIR)"
	install -m 644 "$(HEADER)" "$(DESTDIR)$(INCLUDEDIR)/remoteobj.h"
	install -m 644 "$(STATIC_LIBRARY)" "$(DESTDIR)$(LIBDIR)"
	install -m 755 "$(SHARED_LIBRARY)" "$(DESTDIR)$(LIBDIR)"
	ln -sf libremoteobj.so.$(VERSION) "$(DESTDIR)$(LIBDIR)/$(SONAME)"
	ln -sf $(SONAME) "$(DESTDIR)$(LIBDIR)/libremoteobj.so"
	sh scripts/pkg-config.sh "$(VERSION)" "$(PREFIX)" "$(LIBDIR)" "$(INCLUDEDIR)" "$(LUA_INCDIR)" \
	  > "$(DESTDIR)$(LIBDIR)/pkgconfig/remoteobj.pc"

.PHONY: install-editor
install-editor:
	mkdir -p "$(DEFINITIONS)"
	install -m 644 library/remoteobj.lua "$(DEFINITIONS)"

uninstall:
	rm -f "$(INSTALL_CMOD)/remoteobj.so" $(LUA_SOURCES:lua/%="$(INSTALL_LMOD)/%")
	rm -f "$(DESTDIR)$(INCLUDEDIR)/remoteobj.h" $(INSTALLED_LIBRARIES:%="$(DESTDIR)$(LIBDIR)/%")
	rm -f $(COMMANDS:$(BUILD)/bin/%="$(DESTDIR)$(BINDIR)/%") "$(DESTDIR)$(MANDIR)/man1/remoteobj.1"
	rm -f "$(DEFINITIONS)/remoteobj.lua"
	-rmdir "$(INSTALL_LMOD)/remoteobj" "$(DEFINITIONS)" "$(DESTDIR)$(PREFIX)/share/remoteobj"

clean:
	rm -rf build

help:
	@echo "make                     build the module, the library for C hosts and the command into $(BUILD)"
	@echo "make demo                install what is missing, build, run the examples"
	@echo "make test                install what is missing, build, run the specs"
	@echo "make check               build, run the specs with what is there"
	@echo "                         (SPEC=spec/x_spec.lua: these; BUSTED_ARGS=...: options of busted;"
	@echo "                         JOBS=2: so many files at a time)"
	@echo "make check-asan          run them on a build with ASan and UBSan; check-tsan with TSan; check-valgrind"
	@echo "make check-delays        run them while calls of the system and of threads are slow at random (SEED=...: a run"
	@echo "                         again; CHANCE=0.03: of a delay at each call; LONGEST=3: milliseconds);"
	@echo "                         DELAYS=1 does the same in check-asan and check-tsan"
	@echo "make soak                everything at random for SECONDS=60, with random kills (SEED=...: a run again;"
	@echo "                         ROUND=...: one of its rounds, again and again)"
	@echo "make fuzz                let a fuzzer look for bytes that do harm (SECONDS=60 for each target)"
	@echo "make bench               measure it against its peers, in less than five minutes"
	@echo "                         (ROWS=call,codec: these rows only; QUICK=1: only see that all of it runs)"
	@echo "make doc                 the reference of all functions, $(BUILD)/doc/index.html"
	@echo "make lint                luacheck, clang-tidy, clang-format, warnings of gcc and clang as errors"
	@echo "make format              lay the C sources out as the lint wants them"
	@echo "make portability         build and try it with other compilers, C libraries, for 32 bits, with POSIX alone"
	@echo "make setup               only install what is missing"
	@echo "make install             PREFIX=$(PREFIX) BINDIR=$(BINDIR) LIBDIR=$(LIBDIR)"
	@echo "                         INCLUDEDIR=$(INCLUDEDIR) MANDIR=$(MANDIR)"
	@echo "                         DESTDIR=$(DESTDIR): put the library in place"
	@echo "make uninstall           the opposite"
	@echo "make rockspecs           write the rockspecs anew, from scripts/rockspecs.lua"
	@echo "make rock                pack the last commit as a source rock and a binary rock, into $(BUILD)/rock"
	@echo "make clean               remove build"
	@echo "Variables: CC CFLAGS LDFLAGS WERROR=1 V=1 LUA_INCDIR LUA BUILD NO_LINUX=1"
