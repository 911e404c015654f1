# Signet: build, demo, test. `make help` lists the targets.
MAKEFLAGS += --no-builtin-rules
SHELL := /bin/sh
.DEFAULT_GOAL := all
BUILD ?= build
CC := mpicc
PYTHON ?= /usr/bin/python3
PREFIX ?= /usr/local
DEMO ?= runs/demo
DEMO_RANKS ?= 2
V ?= 0
Q := $(if $(filter 1,$(V)),,@)
JOBS := $(shell nproc 2>/dev/null || echo 2)

.PHONY: help
help:
	@sed -n 's/^#: //p' Makefile

#: Signet's targets (V=1 shows the commands)
#:
#:   make demo          sets up, builds, and runs configs/demo.cfg on two ranks: about three minutes
#:   make test          sets up, builds, and runs every test
#:
#:   make               builds ./signet
#:   make setup         installs missing libraries and tools (Debian, Ubuntu), or says how
#:   make info          which compiler and libraries are found, their versions and paths
#:   make install       signet, its documentation and its configurations, to PREFIX (/usr/local)
#:   make docs          docs/configuration.md from the table of options
#:   make clean         removes what was built; run directories stay
#:
#:   make unit          the unit tests          make mpi           the tests on 1, 2 and 4 ranks
#:   make integration   the tests of the whole program, killed and damaged runs among them
#:   make parity        comparison with PyTorch (needs the packages of `jobs/setup.sh parity`)
#:   make slurm         the job scripts on a real Slurm of this machine (as root; `jobs/setup.sh slurm`)
#:   make browser       the report in headless Chromium (`jobs/setup.sh browser`)
#:   make asan          the unit tests with address and undefined-behaviour sanitizers
#:   make ubsan         the unit tests with the undefined-behaviour sanitizer alone
#:   make valgrind      the unit tests under valgrind
#:   make fuzz          libFuzzer (clang) on everything that is read, FUZZ_SECONDS=60 each
#:   make fault         random kills of a run, KILLS=100, and random damage to files, FLIPS=1000
#:   make bench         kernels and training steps against this machine's peak
#:   make tidy          clang-tidy             make format        clang-format (version 14; CLANG_FORMAT names it)
#:   make format-check  fails when a file is not as clang-format would have it

include jobs/libraries.mk

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wstrict-prototypes -Wmissing-prototypes \
            -Wpointer-arith -Wvla -Wno-unknown-pragmas
OPTIMIZE ?= -O3 -g
SANITIZE ?=
CFLAGS_ALL := -std=gnu11 -D_GNU_SOURCE $(OPTIMIZE) -fopenmp -fno-math-errno -ffp-contract=off $(WARNINGS) $(SANITIZE) \
              -I. $(LIBRARY_CFLAGS) $(CFLAGS)
LDFLAGS_ALL := -fopenmp $(SANITIZE) $(LDFLAGS)
LIBS := $(LIBRARY_LIBS) -lm -lpthread

# The revision goes into two objects alone, so that a commit does not rebuild everything.
SG_REVISION := $(shell git describe --always --dirty 2>/dev/null || echo unknown)

# Kernels that are compiled once per instruction set and lane count.
LANE_SOURCES := $(wildcard kernels/lanes/*.c)
VARIANTS := $(if $(filter x86_64,$(shell uname -m)),portable_16 avx2_16 avx512_16 portable_32 avx512_32,portable_16 portable_32)
FLAGS_portable :=
FLAGS_avx2 := -mavx2 -mfma -mf16c -mbmi2
FLAGS_avx512 := -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma -mprefer-vector-width=512
LANE_OBJECTS := $(foreach v,$(VARIANTS),$(patsubst kernels/lanes/%.c,$(BUILD)/lanes/$(v)/%.o,$(LANE_SOURCES)))

SOURCES := $(wildcard kernels/*.c kernels/nets/*.c stages/*.c pipeline/*.c)
OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(filter-out pipeline/main.c,$(SOURCES))) $(LANE_OBJECTS)
LIBRARY := $(BUILD)/libsignet.a

.PHONY: all
all: signet

signet: $(BUILD)/signet
	$(Q)ln -sf $< $@

$(BUILD)/signet: $(BUILD)/pipeline/main.o $(LIBRARY)
	@echo "  LINK $@"
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

$(LIBRARY): $(OBJECTS)
	@echo "  AR   $@"
	$(Q)rm -f $@ && ar rcs $@ $^

# Compiled once, before anything else, to say clearly what is missing.
CHECK_ENVIRONMENT = CC='$(CC)' CFLAGS='$(LIBRARY_CFLAGS) $(CFLAGS)' LIBS='$(LDFLAGS) $(LIBS)' HDF5_LIBS='$(HDF5_LIBS)' \
    BLIS_LIBS='$(BLIS_LIBS)' LIBCONFIG_LIBS='$(LIBCONFIG_LIBS)' JPEG_LIBS='$(JPEG_LIBS)' PNG_LIBS='$(PNG_LIBS)' \
    ZLIB_LIBS='$(ZLIB_LIBS)' XXHASH_LIBS='$(XXHASH_LIBS)'

$(BUILD)/libraries: jobs/libraries.mk jobs/libraries.c jobs/check_libraries.sh
	@mkdir -p $(@D)
	$(Q)$(CHECK_ENVIRONMENT) jobs/check_libraries.sh > $@.new && mv $@.new $@

.PHONY: libraries cmocka info setup
libraries: $(BUILD)/libraries

CMOCKA_PROGRAM := \#include <stdarg.h>\n\#include <stddef.h>\n\#include <stdint.h>\n\#include <setjmp.h>\n$\
    \#include <cmocka.h>\nint main(void) { return 0; }\n
cmocka:
	$(Q)printf '$(CMOCKA_PROGRAM)' | $(CC) $(CMOCKA_CFLAGS) -x c - -x none -o /dev/null $(CMOCKA_LIBS) 2>/dev/null || \
	    { echo 'signet: the tests need cmocka; `make setup` installs it, or says how' >&2; exit 1; }

info:
	$(Q)$(CHECK_ENVIRONMENT) jobs/check_libraries.sh --paths
	@echo "build      $(BUILD), kernels for: $(VARIANTS)"
	@echo "cflags     $(LIBRARY_CFLAGS)"
	@echo "libs       $(LIBS)"
	@echo "revision   $(SG_REVISION)"

setup:
	$(Q)jobs/setup.sh

$(BUILD)/%.o: %.c | $(BUILD)/libraries
	@mkdir -p $(@D)
	@echo "  CC   $<"
	$(Q)$(CC) $(CFLAGS_ALL) $(FLAGS_OF_OBJECT) -MMD -MP -c $< -o $@

# Rewritten only when it changes; what prints the revision depends on it.
REVISION_FILE := $(BUILD)/revision
.PHONY: FORCE
$(REVISION_FILE): FORCE
	@mkdir -p $(@D)
	@echo '$(SG_REVISION)' | cmp -s - $@ || echo '$(SG_REVISION)' > $@
REVISION_OBJECTS := $(BUILD)/pipeline/main.o $(BUILD)/pipeline/provenance.o
$(REVISION_OBJECTS): $(REVISION_FILE)
$(REVISION_OBJECTS): FLAGS_OF_OBJECT := -DSG_REVISION='"$(SG_REVISION)"'
$(BUILD)/tests/%.o: FLAGS_OF_OBJECT := $(CMOCKA_CFLAGS)

define variant_rule
$(BUILD)/lanes/$(1)/%.o: kernels/lanes/%.c | $(BUILD)/libraries
	@mkdir -p $$(@D)
	@echo "  CC   $$< ($(1))"
	$$(Q)$$(CC) $$(CFLAGS_ALL) $$(FLAGS_$(firstword $(subst _, ,$(1)))) -DSG_ISA=$(firstword $(subst _, ,$(1))) \
	    -DSG_LANES=$(lastword $(subst _, ,$(1))) -MMD -MP -c $$< -o $$@
endef
$(foreach v,$(VARIANTS),$(eval $(call variant_rule,$(v))))

# Tests: every tests/unit/test_*.c is one cmocka program; tests/reference holds the naive twins that they share.
UNIT_SOURCES := $(wildcard tests/unit/test_*.c)
UNIT_PROGRAMS := $(patsubst %.c,$(BUILD)/%,$(UNIT_SOURCES))
REFERENCE_OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(filter-out %_main.c,$(wildcard tests/reference/*.c)))

.PRECIOUS: $(BUILD)/%.o
$(BUILD)/tests/unit/test_%: $(BUILD)/tests/unit/test_%.o $(REFERENCE_OBJECTS) $(LIBRARY)
	@echo "  LINK $@"
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS) $(CMOCKA_LIBS)

# Tests under mpirun: every tests/mpi/test_*.c is one program.
MPI_PROGRAMS := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/mpi/test_*.c))

$(BUILD)/tests/mpi/test_%: $(BUILD)/tests/mpi/test_%.o $(LIBRARY)
	@echo "  LINK $@"
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

# Fuzzing: every tests/fuzz/fuzz_*.c is one harness. Here each is given the inputs of tests/fuzz/corpus.
FUZZ_SOURCES := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_SHARED := $(BUILD)/tests/fuzz/files.o $(BUILD)/tests/fuzz/readers.o
FUZZ_MAIN ?= $(BUILD)/tests/fuzz/replay.o
FUZZ_PROGRAMS := $(patsubst %.c,$(BUILD)/%,$(FUZZ_SOURCES))

$(BUILD)/tests/fuzz/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(FUZZ_SHARED) $(FUZZ_MAIN) $(LIBRARY)
	@echo "  LINK $@"
	$(Q)$(CC) $(LDFLAGS_ALL) $(FUZZ_LINK) -o $@ $^ $(LIBS)

.PHONY: fuzz-programs
fuzz-programs: $(FUZZ_PROGRAMS)

# Every kind is run by tests/run.sh, which counts each test and ends with "N passed, N failed".
RUN_TESTS = BUILD='$(BUILD)' SIGNET='$(abspath $(BUILD))/signet' tests/run.sh
TEST_PROGRAMS := $(UNIT_PROGRAMS) $(MPI_PROGRAMS) $(FUZZ_PROGRAMS)

.PHONY: unit mpi integration test-programs test
unit: cmocka $(UNIT_PROGRAMS)
	$(Q)$(RUN_TESTS) unit

mpi: $(MPI_PROGRAMS)
	$(Q)$(RUN_TESTS) mpi

integration: cmocka signet $(MPI_PROGRAMS) $(patsubst %,$(BUILD)/tests/unit/%,test_conv test_conv_direct test_conv_winograd)
	$(Q)$(RUN_TESTS) integration fault

.PHONY: slurm browser
slurm browser: signet
	$(Q)$(RUN_TESTS) $@

test-programs: cmocka signet $(TEST_PROGRAMS)

# The second make sees what the first installed.
test: setup
	$(Q)$(MAKE) --no-print-directory -j$(JOBS) test-programs
	$(Q)$(RUN_TESTS) unit mpi integration fault fuzz

# `make asan` and `make ubsan`: the unit tests in a build of their own.
SANITIZED = $(MAKE) --no-print-directory -j$(JOBS) OPTIMIZE='-O1 -g -fno-omit-frame-pointer'
# A test asks for more memory than there is, and wants to be told so.
export ASAN_OPTIONS ?= allocator_may_return_null=1
export LSAN_OPTIONS ?= suppressions='$(CURDIR)/tests/leaks.supp':print_suppressions=0
export UBSAN_OPTIONS ?= print_stacktrace=1

.PHONY: asan ubsan
asan:
	$(Q)$(SANITIZED) BUILD=build-asan SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=all' unit

ubsan:
	$(Q)$(SANITIZED) BUILD=build-ubsan SANITIZE='-fsanitize=undefined -fno-sanitize-recover=all' unit

# What Open MPI's authors know to be harmless comes with it. Paths are relative, to where tests/run.sh runs the tests: it
# cuts the command at blanks.
OPENMPI_SUPPRESSIONS ?= $(firstword $(wildcard /usr/share/openmpi/openmpi-valgrind.supp \
    $(MPI_ROOT)/share/openmpi/openmpi-valgrind.supp) tests/valgrind.supp)
VALGRIND = valgrind --quiet --keep-debuginfo=yes --error-exitcode=99 --leak-check=full --show-leak-kinds=definite \
    --errors-for-leak-kinds=definite --suppressions=$(OPENMPI_SUPPRESSIONS) --suppressions=tests/valgrind.supp
.PHONY: valgrind
valgrind: cmocka signet $(UNIT_PROGRAMS)
	$(Q)CHECKER='$(VALGRIND)' SIGNET_TEST_BRIEF=1 OMP_NUM_THREADS=1 TEST_TIMEOUT=3600 $(RUN_TESTS) unit

# libFuzzer needs clang. The kernels are not fuzzed, and take long to compile.
FUZZ_SECONDS ?= 60
FUZZ_CLANG ?= clang
.PHONY: fuzz
fuzz: signet
	$(Q)OMPI_CC='$(FUZZ_CLANG)' MPICH_CC='$(FUZZ_CLANG)' $(SANITIZED) BUILD=build-fuzz LANE_OBJECTS= FUZZ_MAIN= \
	    SANITIZE='-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all' \
	    FUZZ_LINK=-fsanitize=fuzzer fuzz-programs
	$(Q)SIGNET='$(abspath $(BUILD))/signet' tests/fuzz/run.sh build-fuzz $(FUZZ_SECONDS)

.PHONY: demo
demo: setup
	$(Q)$(MAKE) --no-print-directory -j$(JOBS) signet
	$(Q)jobs/demo.sh '$(DEMO)' $(DEMO_RANKS)

.PHONY: bench
bench: signet
	$(Q)./signet bench

# docs/configuration.md from the table of keys; a unit test compares them.
$(BUILD)/tests/configuration: $(BUILD)/tests/reference/configuration_main.o $(LIBRARY)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

.PHONY: docs
docs: $(BUILD)/tests/configuration
	$(Q)$< > $(BUILD)/configuration.md && mv $(BUILD)/configuration.md docs/configuration.md

# Parity with PyTorch: the networks in double against float64, the float executor against PyTorch's float32.
$(BUILD)/tests/parity: $(BUILD)/tests/reference/parity_main.o $(REFERENCE_OBJECTS) $(LIBRARY)
	@echo "  LINK $@"
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS) $(CMOCKA_LIBS)

.PHONY: parity
parity: $(BUILD)/tests/parity $(BUILD)/signet
	$(Q)$(PYTHON) tests/parity/test_parity.py $<
	$(Q)$(PYTHON) tests/parity/test_statedict.py $(BUILD)/signet docs/pytorch.md

# What git knows, or everything in an unpacked archive.
C_FILES = $(shell git ls-files '*.c' '*.h' 2>/dev/null || find kernels stages pipeline tests jobs -name '*.[ch]')
CLANG_FORMAT ?= clang-format
CLANG_TIDY ?= clang-tidy

.PHONY: format format-check tidy
format:
	$(Q)$(CLANG_FORMAT) -i $(C_FILES)

format-check:
	$(Q)$(CLANG_FORMAT) --dry-run --Werror $(C_FILES)

TIDY_CHECKS := clang-analyzer-*,bugprone-*,-bugprone-easily-swappable-parameters,-bugprone-narrowing-conversions,$\
    -bugprone-implicit-widening-of-multiplication-result,-bugprone-reserved-identifier,-bugprone-assignment-in-if-condition,$\
    -clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling
TIDY_FLAGS = -std=gnu11 -D_GNU_SOURCE -I. $(LIBRARY_CFLAGS) $(patsubst -I%,-isystem %,$(filter -I%,$(shell $(CC) -show 2>/dev/null)))
tidy: $(BUILD)/libraries
	$(Q)$(CLANG_TIDY) --quiet --checks='-*,$(TIDY_CHECKS)' --warnings-as-errors='*' $(SOURCES) -- $(TIDY_FLAGS)

SHARE := $(DESTDIR)$(PREFIX)/share
INSTALLED_JOBS := $(wildcard jobs/*/*.sh)
.PHONY: install install-files
install: signet install-files
	$(Q)install -d '$(DESTDIR)$(PREFIX)/bin'
	$(Q)install -m 755 $(BUILD)/signet '$(DESTDIR)$(PREFIX)/bin/signet'
	@echo "installed to $(DESTDIR)$(PREFIX)"

# All but the program. Scripts and module are told where they are.
install-files:
	$(Q)install -d '$(SHARE)/signet/configs' '$(SHARE)/doc/signet' $(patsubst %,'$(SHARE)/signet/%',$(sort $(dir $(INSTALLED_JOBS))))
	$(Q)install -m 644 configs/*.cfg '$(SHARE)/signet/configs'
	$(Q)install -m 644 jobs/launch.sh '$(SHARE)/signet/jobs'
	$(Q)for script in $(INSTALLED_JOBS); do \
	    sed 's,^JOBS=.*,JOBS=$${JOBS:-$(PREFIX)/share/signet/jobs},' "$$script" > '$(SHARE)/signet/'"$$script" && \
	    chmod 755 '$(SHARE)/signet/'"$$script" || exit 1; done
	$(Q)sed 's,@PREFIX@,$(PREFIX),g' jobs/signet.lua > '$(SHARE)/signet/signet.lua'
	$(Q)install -m 644 README.md LICENSE '$(SHARE)/doc/signet'
	$(Q)find docs -type f -exec sh -c 'for file; do install -D -m 644 "$$file" "$$0/$$file" || exit 1; done' \
	    '$(SHARE)/doc/signet' {} +

# Longer than `make test` does it: random kills of a run, random damage to files.
KILLS ?= 100
FLIPS ?= 1000
.PHONY: fault
fault: signet
	$(Q)SIGNET='$(abspath $(BUILD))/signet' tests/fault/kill.sh $(KILLS)
	$(Q)SIGNET='$(abspath $(BUILD))/signet' tests/fault/flips.sh $(FLIPS)

.PHONY: clean
clean:
	$(Q)rm -rf build build-asan build-ubsan build-fuzz $(BUILD) signet

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
