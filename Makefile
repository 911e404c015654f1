# Signet: build, demo, test. `make help` lists the targets.
MAKEFLAGS += --no-builtin-rules
BUILD ?= build
CC := mpicc
V ?= 0
Q := $(if $(filter 1,$(V)),,@)

include jobs/libraries.mk

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wstrict-prototypes -Wmissing-prototypes \
            -Wpointer-arith -Wvla -Wno-unknown-pragmas
OPTIMIZE ?= -O3 -g
SANITIZE ?=
CFLAGS_ALL := -std=gnu11 -D_GNU_SOURCE $(OPTIMIZE) -fopenmp -fno-math-errno -ffp-contract=off $(WARNINGS) $(SANITIZE) \
              -I. $(LIBRARY_CFLAGS) $(CFLAGS)
LDFLAGS_ALL := -fopenmp $(SANITIZE) $(LDFLAGS)
LIBS := $(LIBRARY_LIBS) -lm -lpthread

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

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC   $<"
	$(Q)$(CC) $(CFLAGS_ALL) -MMD -MP -c $< -o $@

define variant_rule
$(BUILD)/lanes/$(1)/%.o: kernels/lanes/%.c
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

.PRECIOUS: $(BUILD)/tests/%.o
$(BUILD)/tests/unit/test_%: $(BUILD)/tests/unit/test_%.o $(REFERENCE_OBJECTS) $(LIBRARY)
	@echo "  LINK $@"
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS) -lcmocka

.PHONY: unit
unit: $(UNIT_PROGRAMS)
	$(Q)set -e; for t in $(UNIT_PROGRAMS); do echo "  TEST $$t"; $$t; done

# Tests under mpirun: every tests/mpi/test_*.c is one program; MPI_RANKS says on how many ranks each runs.
MPI_PROGRAMS := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/mpi/test_*.c))
MPI_RANKS ?= 1 2 4 8

$(BUILD)/tests/mpi/test_%: $(BUILD)/tests/mpi/test_%.o $(LIBRARY)
	@echo "  LINK $@"
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

.PHONY: mpi
mpi: $(MPI_PROGRAMS)
	$(Q)set -e; for t in $(MPI_PROGRAMS); do for n in $(MPI_RANKS); do \
	    echo "  TEST $$t on $$n"; tests/mpirun.sh $$n $$t; done; done
	$(Q)echo "  TEST tests/fault/h5_close.sh"; tests/fault/h5_close.sh $(BUILD)/tests/mpi/test_h5

# docs/configuration.md from the table of keys; a unit test compares them.
$(BUILD)/tests/configuration: $(BUILD)/tests/reference/configuration_main.o $(LIBRARY)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

.PHONY: docs
docs: $(BUILD)/tests/configuration
	$(Q)$< > $(BUILD)/configuration.md && mv $(BUILD)/configuration.md docs/configuration.md

# Parity with PyTorch: the networks in double against float64, the float executor against PyTorch's float32.
PYTHON ?= /usr/bin/python3

$(BUILD)/tests/parity: $(BUILD)/tests/reference/parity_main.o $(REFERENCE_OBJECTS) $(LIBRARY)
	@echo "  LINK $@"
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS) -lcmocka

.PHONY: parity
parity: $(BUILD)/tests/parity
	$(Q)$(PYTHON) tests/parity/test_parity.py $<

.PHONY: clean
clean:
	$(Q)rm -rf $(BUILD) signet

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
