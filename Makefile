# SPDX-License-Identifier: MIT
#
# The whole build of libbdrv: GNU Make, a C11 compiler and pkg-config.
# `make help` lists the targets, `make B=dir` builds elsewhere, V=1 shows the
# commands.  CC, CFLAGS, CPPFLAGS, LDFLAGS, prefix and DESTDIR belong to you;
# what the sources themselves need is in the variables in small letters.

# The built-in drivers, in the order they are listed to users.  A driver is
# drivers/NAME.c or drivers/NAME/*.c; its table is bdrv_driver_NAME.
DRIVERS := file raw mem null overlay vmdk

B ?= build
prefix ?= /usr/local
bindir ?= $(prefix)/bin
libdir ?= $(prefix)/lib
includedir ?= $(prefix)/include
mandir ?= $(prefix)/share/man
completiondir ?= $(prefix)/share/bash-completion/completions
IMAGES ?= ../shared/images
CFLAGS ?= -O3 -g
PKG_CONFIG ?= pkg-config
OBJCOPY ?= objcopy

# The version is written once, in the header.
version := $(shell awk '/^\#define BDRV_VERSION_/ { v = v dot $$3; dot = "." } \
                        END { print v }' include/bdrv.h)
soname := libbdrv.so.$(firstword $(subst ., ,$(version)))

warnings := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes \
            -Wmissing-prototypes -Wundef -Wvla -Wswitch-enum -Wconversion \
            $(if $(WERROR),-Werror)
# Nobody replaces one function of the library: see -Bsymbolic-functions below.
cflags := -std=c11 -pthread -fno-semantic-interposition $(warnings)
cppflags := -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Iinclude
libs := -pthread

# libdeflate is optional: `make LIBDEFLATE=` builds without it.
LIBDEFLATE ?= $(shell $(PKG_CONFIG) --exists libdeflate 2>/dev/null && echo yes)
ifneq ($(LIBDEFLATE),)
cppflags += -DBDRV_HAVE_LIBDEFLATE $(shell $(PKG_CONFIG) --cflags libdeflate)
libs += $(shell $(PKG_CONFIG) --libs libdeflate)
endif

# So is nettle, which knows SHA-256: `make NETTLE=`.
NETTLE ?= $(shell $(PKG_CONFIG) --exists nettle 2>/dev/null && echo yes)
ifneq ($(NETTLE),)
cppflags += -DBDRV_HAVE_NETTLE $(shell $(PKG_CONFIG) --cflags nettle)
libs += $(shell $(PKG_CONFIG) --libs nettle)
endif

# So is ISA-L, which compresses faster (-o compression_engine=isal): `make ISAL=`.
ISAL ?= $(shell $(PKG_CONFIG) --exists libisal 2>/dev/null && echo yes)
ifneq ($(ISAL),)
cppflags += -DBDRV_HAVE_ISAL $(shell $(PKG_CONFIG) --cflags libisal)
libs += $(shell $(PKG_CONFIG) --libs libisal)
endif

# iconv(3), for names of files in a VMDK's own encoding: `make ICONV=`.
ICONV ?= $(shell printf '\043include <iconv.h>\nint main(void)\n{\nreturn \
    iconv_open("a", "b") == 0;\n}\n' | $(CC) -x c -o /dev/null - 2>/dev/null && echo yes)
cppflags += $(if $(ICONV),-DBDRV_HAVE_ICONV)

# ---------------------------------------------------------------- what exists

driver_source = $(wildcard drivers/$(1).c drivers/$(1)/*.c)
$(foreach d,$(DRIVERS),$(if $(call driver_source,$d),,\
    $(error DRIVERS names $d: there is neither drivers/$d.c nor drivers/$d/)))
objects_of = $(patsubst %.c,$(B)/obj/%.o,$(1))

library := $(call objects_of,$(wildcard block/*.c)) \
           $(DRIVERS:%=$(B)/drivers/%.o)
tool := $(call objects_of,$(wildcard tools/*.c))
manuals := $(wildcard tools/man/*.1)
commands := $(patsubst tools/cmd-%.c,img-%,$(wildcard tools/cmd-*.c))
test_library := $(call objects_of,$(wildcard tests/lib/*.c drivers/template.c))
test_programs := $(patsubst tests/%.c,%,$(wildcard tests/t-*.c \
                   tests/conformance.c tests/*/t-*.c))
examples := $(patsubst tests/%.c,%,$(wildcard tests/examples/*.c))
test_scripts := $(patsubst tests/%,%,$(filter-out %/lib.sh,$(wildcard \
    $(addsuffix /*.sh,tests/cli tests/headers tests/abi tests/examples))))
SUITES ?= $(test_programs) $(test_scripts) \
    $(filter-out $(test_scripts:.sh=),$(examples))

.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:

silent := $(findstring s,$(firstword -$(MAKEFLAGS)))
say = $(if $(V),,@$(if $(silent),,echo "  $(1) $@" &&))
link = $(call say,LD )mkdir -p $(@D) && $(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^

## all: the library, static and shared, and the tools (the default)
all: $(B)/lib/libbdrv.a $(B)/lib/libbdrv.so $(B)/bdrv.pc $(B)/local/bdrv.pc \
     $(B)/bin/img $(commands:%=$(B)/bin/%)

# ---------------------------------------------------------------- compilation

# What each part of the tree may see.  A driver gets no more than an
# out-of-tree driver would, a tool no more than any program.
$(B)/obj/block/%.o: part := -Iblock -I$(B)
$(B)/obj/block/%.o $(B)/obj/drivers/%.o: pic := -fPIC
$(B)/obj/tests/%.o: part = -Itests/lib $(check_cflags) \
    -DBDRV_IMAGES='"$(abspath $(IMAGES))"' -DBDRV_BUILD='"$(abspath $(B))"'
$(B)/obj/tests/examples/%.o: part :=
check_cflags := $(shell $(PKG_CONFIG) --cflags check 2>/dev/null)
check_libs := $(shell $(PKG_CONFIG) --libs check 2>/dev/null)

$(B)/obj/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	$(call say,CC )$(CC) $(cppflags) $(part) $(CPPFLAGS) $(cflags) $(pic) \
	    $(CFLAGS) -MMD -MP -c -o $@ $<

$(B)/obj/block/registry.o: | $(B)/drivers.inc

# A driver's files become one object that shows its table and nothing else.
.SECONDEXPANSION:
$(B)/drivers/%.o: $$(call objects_of,$$(call driver_source,$$*))
	@mkdir -p $(@D)
	$(call say,LD )$(CC) $(CFLAGS) -fno-sanitize=all -r -nostdlib -o $@ $^ && \
	    $(OBJCOPY) --keep-global-symbol=bdrv_driver_$* $@

# Files whose content depends on variables: rewritten only when they change.
write_if_changed = @mkdir -p $(@D); { $(1); } > $@.new; \
    if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(B)/flags: FORCE
	$(call write_if_changed,echo '$(CC) $(cppflags) $(CPPFLAGS) $(cflags) $(CFLAGS) $(LDFLAGS)')

$(B)/drivers.inc: FORCE
	$(call write_if_changed,for d in $(DRIVERS); do echo "BDRV_BUILTIN($$d)"; done)

$(B)/lib/libbdrv.a: $(library)
	@mkdir -p $(@D)
	$(call say,AR )rm -f $@ && $(AR) qcs $@ $(library)

# The shared library exports what the public headers declare and nothing else.
$(B)/exports.map: include/bdrv.h include/bdrv-hash.h include/bdrv-driver.h
	@mkdir -p $(@D)
	@{ echo '{ global:'; \
	   sed -n 's/^[a-zA-Z].*[ *]\(bdrv_[a-z0-9_]*\)(.*/\1;/p' $^; \
	   echo 'local: *; };'; } > $@

$(B)/lib/$(soname): $(library) $(B)/exports.map
	@mkdir -p $(@D)
	$(call say,LD )$(CC) -shared $(CFLAGS) $(LDFLAGS) -Wl,-soname,$(soname) \
	    -Wl,-Bsymbolic-functions -Wl,--version-script,$(B)/exports.map -o $@ $(library) $(libs)

$(B)/lib/libbdrv.so: $(B)/lib/$(soname)
	@ln -sf $(soname) $@

# $(1) and $(2): where the libraries and the headers are.
pkg_config_file = printf '%s\n' 'libdir=$(1)' 'includedir=$(2)' '' 'Name: libbdrv' \
    'Description: Open, read, write, create and convert virtual disk images' \
    'Version: $(version)' 'Cflags: -I$${includedir}' 'Libs: -L$${libdir} -lbdrv' \
    'Libs.private: -pthread' 'Requires.private: $(strip $(if $(LIBDEFLATE),libdeflate) \
    $(if $(NETTLE),nettle) $(if $(ISAL),libisal))'

$(B)/bdrv.pc: FORCE
	$(call write_if_changed,$(call pkg_config_file,$(libdir),$(includedir)))

# For other trees that build against this one, not installed:
# PKG_CONFIG_PATH=build/local
$(B)/local/bdrv.pc: FORCE
	$(call write_if_changed,$(call pkg_config_file,$(abspath $(B)/lib),$(abspath include)))

$(B)/bin/img: $(tool) $(B)/lib/libbdrv.a
	$(link) $(libs)

$(B)/bin/img-%: $(B)/bin/img
	@ln -sf img $@

# ---------------------------------------------------------------------- tests
#
# A suite is a Check program (tests/t-*.c, tests/conformance.c, tests/*/t-*.c),
# a shell script (one test; 77 means skipped, the last line it prints is the
# reason), or an example (run by the script of its name if there is one).  All
# find in the environment: B and IMAGES (absolute), the built tools first in
# PATH, and TMPDIR, a fresh directory of their own, which is also where they
# start.  LARGE=1 is set by check-large.  A Check program counts one test as
# skipped for each line "skipped: reason" that it prints.  run.sh does the rest.

$(B)/tests/%: $(B)/obj/tests/%.o $(test_library) $(B)/lib/libbdrv.a
	$(link) $(check_libs) $(libs)

$(B)/tests/t-sandbox: $(B)/obj/tools/sandbox.o

$(B)/tests/examples/%: $(B)/obj/tests/examples/%.o $(B)/lib/libbdrv.a
	$(link) $(libs)

# The fuzz targets: as tests, and as programs of libFuzzer (CC=clang, with CFLAGS
# as tests/fuzz/run.sh sets them) or, with FUZZER= , for AFL and for replaying.
fuzz_targets := $(filter-out %/main.o,$(call objects_of,$(filter-out \
    tests/fuzz/t-%,$(wildcard tests/fuzz/*.c))))
FUZZER ?= -fsanitize=fuzzer
$(B)/obj/tests/fuzz/main.o: CPPFLAGS += $(if $(FUZZER),-DFUZZ_LIBFUZZER)

$(B)/tests/fuzz/%: $(B)/obj/tests/fuzz/%.o $(fuzz_targets) $(test_library) $(B)/lib/libbdrv.a
	$(link) $(check_libs) $(libs)

$(B)/bin/fuzz: $(B)/obj/tests/fuzz/main.o $(fuzz_targets) $(B)/lib/libbdrv.a
	$(link) $(FUZZER) $(libs)

# The tools run under it in tests/host; see there.
$(B)/tests/host/hostcalls.so: tests/host/hostcalls.c $(B)/flags
	@mkdir -p $(@D)
	$(call say,LD )$(CC) $(cppflags) -Itests/lib $(cflags) $(filter-out -fsanitize%,$(CFLAGS)) \
	    -fPIC -shared -o $@ $< -ldl

$(patsubst %,$(B)/results/%,$(filter host/%,$(test_programs))): \
    $(B)/bin/img $(B)/tests/host/hostcalls.so

run_suite = @PATH="$(abspath $(B))/bin:$$PATH" B="$(abspath $(B))" \
    IMAGES="$(abspath $(IMAGES))" CC="$(CC)" CXX="$(CXX)" CFLAGS="$(CFLAGS)" \
    LDFLAGS="$(LDFLAGS)" LIBS="$(libs)" LARGE="$(LARGE)" MAKE="$(MAKE)" \
    MAKEFLAGS="-- $(MAKEOVERRIDES)" tests/run.sh $* $@ $(abspath $<)

$(B)/results/%.sh: tests/%.sh all $(examples:%=$(B)/tests/%) FORCE
	$(run_suite)

$(B)/results/%: $(B)/tests/% FORCE
	$(run_suite)

# Suites run side by side, as many as there are processors, unless a -j was given.
all_processors = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc 2>/dev/null || echo 2))

## check: install what is missing (see deps), run all tests; SUITES="t-io …" chooses
check: deps
	@+$(MAKE) --no-print-directory $(all_processors) check-suites

check-suites: $(SUITES:%=$(B)/results/%)
	@cat $^ | awk '{ p += $$1; f += $$2; s += $$3 } END { \
	    printf "\n%d passed, %d failed, %d skipped\n", p, f, s; exit f > 0 }'

## check-large: the same with the tests that need gigabytes or minutes
check-large: deps
	@+$(MAKE) --no-print-directory $(all_processors) check-suites LARGE=1

# In its own directory, and with Check in one process, so that leaks are seen.
sanitize = CK_FORK=no $(MAKE) --no-print-directory $(all_processors) check-suites B=$(B)-$(1) \
    CFLAGS="-O1 -g -fno-omit-frame-pointer $(2)"

## check-asan: the tests under AddressSanitizer and UndefinedBehaviorSanitizer
check-asan: deps
	@+$(call sanitize,asan,-fsanitize=address -fsanitize=undefined -fno-sanitize-recover=all)

## check-tsan: the tests under ThreadSanitizer
check-tsan: deps
	@+$(call sanitize,tsan,-fsanitize=thread)

## check-valgrind: the test programs under valgrind
check-valgrind: deps
	@CK_FORK=no RUNNER="valgrind -q --leak-check=full --error-exitcode=99" \
	    $(MAKE) --no-print-directory check-suites SUITES="$(test_programs)"

## build-tests: all test programs, without running them
build-tests: all $(patsubst %,$(B)/tests/%,$(test_programs) $(examples))

## fuzz: libFuzzer on hostile images, all targets in SECONDS=60 (needs clang)
SECONDS ?= 60
fuzz: deps
	@+B="$(abspath $(B))" MAKE="$(MAKE)" tests/fuzz/run.sh $(SECONDS)

## soak: random sessions on all kinds of images at once, for SECONDS=60 (an hour: 3600)
soak: $(B)/tests/t-soak
	SOAK_SECONDS=$(SECONDS) $(B)/tests/t-soak

## fuzz-long: until each target has had MINUTES=60 of processor time; can be resumed
MINUTES ?= 60
fuzz-long: deps
	@+B="$(abspath $(B))" MAKE="$(MAKE)" tests/fuzz/run.sh --long $(MINUTES)

## demo: convert a real VMware image to raw and back, and compare
demo: deps
	@$(MAKE) --no-print-directory all
	@B="$(abspath $(B))" IMAGES="$(abspath $(IMAGES))" tests/examples/demo.sh

## bench: measure against plain copies and other tools; BENCH_ROWS="map check" chooses
bench: all
	@PATH="$(abspath $(B))/bin:$$PATH" B="$(abspath $(B))" \
	    IMAGES="$(abspath $(IMAGES))" tests/bench/run.sh

## interchange: put into README which kinds of VMDK other programs and we exchange
interchange: all
	@PATH="$(abspath $(B))/bin:$$PATH" UPDATE=1 sh tests/cli/interchange.sh

## lint: functions of at most 60 lines, files of at most 600, no forbidden includes
lint:
	@tests/lint.sh

# Three analysers, each file on its own, all processors at once; any finding fails it.
# clang-tidy looks for what .clang-tidy says.  Their exceptions stand beside the lines,
# but for gcc's, whose pragma clang does not know: of the kinds left out here, gcc 12 had
# nothing but errors (lists and tables filled behind its back), and clang-tidy looks for the
# same.  Threads may have no more than 128 KiB of stack: no frame of ours takes a third.
analyzed := $(wildcard block/*.c drivers/*.c drivers/*/*.c tools/*.c)
analyzer_says = $(cppflags) $(CPPFLAGS) -Iblock -I$(B) -std=c11 -pthread -include tests/analyze.h \
    -DANALYZE_$(if $(filter block/error.c,$<),ERRORS_OWNER,$(if $(filter block/%,$<),CORE,USER))

## analyze: cppcheck, clang-tidy, gcc -fanalyzer, and the size of stack frames
analyze:
	@for tool in cppcheck clang-tidy gcc; do \
	    command -v $$tool >/dev/null || { echo "analyze: needs $$tool"; exit 1; }; \
	done
	@+$(MAKE) --no-print-directory -k $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$$(nproc)) \
	    analyze-all

analyze-all: analyze-cppcheck $(analyzed:%=$(B)/analyze/%.tidy) $(analyzed:%=$(B)/analyze/%.gcc)

analyze-cppcheck:
	cppcheck --quiet --std=c11 --enable=warning,performance,portability \
	    --inline-suppr --suppress=duplicateAssignExpression \
	    --error-exitcode=1 -Iinclude -Iblock block drivers tools

$(B)/analyze/%.tidy: % $(B)/drivers.inc FORCE
	$(call say,TIDY)clang-tidy --quiet $< -- $(analyzer_says) 2>/dev/null

$(B)/analyze/%.gcc: % $(B)/drivers.inc FORCE
	$(call say,GCC)gcc $(analyzer_says) -O1 -fanalyzer -Wno-analyzer-malloc-leak \
	    -Wno-analyzer-null-argument -Wno-analyzer-null-dereference \
	    -Wno-analyzer-use-of-uninitialized-value -Walloca -Wvla \
	    -Wframe-larger-than=43000 -Werror -c -o /dev/null $<

## symbols: every global symbol starts with bdrv_, every declared function exists
symbols: $(B)/results/abi/symbols.sh

## deps: install what building and testing needs, or say what that is
deps:
	@.ci/deps

## deps-peers: the same for the other tools that images are exchanged with
deps-peers:
	@.ci/deps peers

# --------------------------------------------------------------- installation

## install: into $(DESTDIR)$(prefix)
install: all
	install -d $(addprefix $(DESTDIR),$(bindir) $(libdir)/pkgconfig \
	    $(includedir) $(mandir)/man1 $(completiondir))
	install -m 644 include/*.h $(DESTDIR)$(includedir)
	install -m 644 $(B)/lib/libbdrv.a $(DESTDIR)$(libdir)
	install -m 755 $(B)/lib/$(soname) $(DESTDIR)$(libdir)/libbdrv.so.$(version)
	ln -sf libbdrv.so.$(version) $(DESTDIR)$(libdir)/$(soname)
	ln -sf $(soname) $(DESTDIR)$(libdir)/libbdrv.so
	install -m 644 $(B)/bdrv.pc $(DESTDIR)$(libdir)/pkgconfig
	install -m 755 $(B)/bin/img $(DESTDIR)$(bindir)
	install -m 644 tools/completion/img.bash $(DESTDIR)$(completiondir)/img
	for c in $(commands); do \
	    ln -sf img $(DESTDIR)$(bindir)/$$c && \
	    ln -sf img $(DESTDIR)$(completiondir)/$$c || exit; \
	done
	install -m 644 $(manuals) $(DESTDIR)$(mandir)/man1

## uninstall: remove what install put there
uninstall:
	rm -f $(addprefix $(DESTDIR)$(includedir)/,$(notdir $(wildcard include/*.h))) \
	    $(addprefix $(DESTDIR)$(libdir)/,libbdrv.a libbdrv.so $(soname) \
	        libbdrv.so.$(version) pkgconfig/bdrv.pc) \
	    $(addprefix $(DESTDIR)$(bindir)/,img $(commands)) \
	    $(addprefix $(DESTDIR)$(completiondir)/,img $(commands)) \
	    $(addprefix $(DESTDIR)$(mandir)/man1/,$(notdir $(manuals)))

## dist: a tar file of what is committed
dist:
	@mkdir -p $(B)
	git archive --prefix=libbdrv-$(version)/ -o $(B)/libbdrv-$(version).tar.gz HEAD

## clean: remove what was built
clean:
	rm -rf $(B) $(B)-asan $(B)-tsan $(B)-fuzz

## help: this list
help:
	@sed -n 's/^## \([a-z-]*\): /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: all check check-suites check-large check-asan check-tsan check-valgrind \
        build-tests fuzz fuzz-long soak demo bench interchange lint analyze analyze-all \
        analyze-cppcheck symbols deps deps-peers install \
        uninstall dist clean help FORCE
-include $(wildcard $(B)/obj/*/*.d $(B)/obj/*/*/*.d)
