# Every command of the course. `make` alone prints them.
#
# Names  STAGE is 2, 02, 02-linked-list, a range like 1-3, or all; the part
#        after the dash of a target such as test-02 is a STAGE, too.
# Build  Everything generated is in build/STAGE/COMPILER-CONFIG/.

MAKEFLAGS += --no-builtin-rules --no-print-directory
.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

STAGE ?= all
STAGES := $(notdir $(patsubst %/,%,$(wildcard stages/[0-9][0-9]-*/)))

ifeq ($(origin CC),default)
CC := gcc
endif
COMPILER := $(notdir $(firstword $(CC)))
Q := $(if $(V),,@)

STANDARD := -std=c11 -D_GNU_SOURCE -pthread
WARNINGS := -Wall -Wextra -Wconversion -Wshadow -Wundef -Werror \
	$(if $(findstring clang,$(COMPILER)),-Wthread-safety)
# A compiler may leave out a malloc whose block is not used; here they count.
COUNTED := -fno-builtin-malloc -fno-builtin-calloc -fno-builtin-realloc \
	-fno-builtin-free -fno-builtin-memalign -fno-builtin-aligned_alloc \
	-fno-builtin-posix_memalign
CFLAGS := $(STANDARD) $(WARNINGS) $(COUNTED) -g -fPIC -fvisibility=hidden
LIBRARY_FLAGS := -shared -Wl,-z,initfirst -Wl,-z,nodelete -Wl,-z,defs

# One build of a stage for each purpose.
CONFIGS := release debug asan ubsan tsan fuzz
FLAGS_release := -O2 -DMM_DEBUG=0 -DMM_COUNTERS=1
FLAGS_debug := -O1 -DMM_DEBUG=1 -DMM_COUNTERS=1
SANITIZED := $(FLAGS_debug) -fno-sanitize-recover=all -fno-omit-frame-pointer
FLAGS_asan := $(SANITIZED) -fsanitize=address
FLAGS_ubsan := $(SANITIZED) -fsanitize=undefined
FLAGS_tsan := $(SANITIZED) -fsanitize=thread
FLAGS_fuzz := $(SANITIZED) -fsanitize=fuzzer-no-link,address,undefined

tool := tests/tools
need = @sh common/setup.sh --need $1

# ---------------------------------------------------------------------------
# Building: rules for every stage and config, from the names of its sources.
# Programs of a stage that only make something (mksizeclasses.c) are left out.

out = build/$1/$(COMPILER)-$2
common_objects = $(patsubst common/%.c,$(call out,$1,$2)/%.o,\
	$(filter-out common/preload.c common/harden.c,$(wildcard common/*.c)))
stage_objects = $(patsubst stages/$1/%.c,$(call out,$1,$2)/%.o,\
	$(filter-out stages/$1/mk%,$(wildcard stages/$1/*.c)))

define compile
@mkdir -p $(@D)
$Q$(CC) $(CFLAGS) $1 -MMD -MP -c -o $@ $<
endef

# stage_rules: $1 stage, $2 config, $3 directory of the build.
define stage_rules
$3/%.o: common/%.c Makefile
	$$(call compile,$$(FLAGS_$2) -Icommon)
$3/%.o: stages/$1/%.c Makefile
	$$(call compile,$$(FLAGS_$2) -Icommon -Istages/$1)
$3/unit/%.o: tests/unit/%.c Makefile
	$$(call compile,$$(FLAGS_$2) -Icommon -Istages/$1 -Itests)
$3/libmm.a: $$(call common_objects,$1,$2) $$(call stage_objects,$1,$2)
	$Qrm -f $$@ && ar rcs $$@ $$^
$3/libmalloc.so: $3/preload.o $3/harden.o $3/libmm.a
	$Q$$(CC) $$(CFLAGS) $$(FLAGS_$2) $$(LIBRARY_FLAGS) -o $$@ \
		$3/preload.o $3/harden.o -Wl,--whole-archive $3/libmm.a \
		-Wl,--no-whole-archive
$(call link_rules,$1,$2,$3)
endef

# link_rules: the programs that are linked with the library of a stage.
define link_rules
$3/contract/%: $(call out,tests,$2)/contract/%.o $3/contract/%.runner.o \
		$3/libmm.a
	$$(call link_test,$2,$3)
$3/unit/%: $3/unit/%.o $3/unit/%.runner.o $3/libmm.a
	$$(call link_test,$2,$3)
$3/contract/%.runner.o: tests/runner.c Makefile
	$$(call compile,$$(call runner_flags,$1,$2,contract/$$*))
$3/unit/%.runner.o: tests/runner.c Makefile
	$$(call compile,$$(call runner_flags,$1,$2,unit/$$*))
endef
runner_flags = $(FLAGS_$2) -Icommon -Itests -DTEST_STAGE='"$1"' \
	-DTEST_PROGRAM='"$3"'

define link_test
@mkdir -p $(@D)
$Q$(CC) $(CFLAGS) $(FLAGS_$1) -o $@ $(filter %.o,$^) \
	-Wl,--whole-archive $2/libmm.a -Wl,--no-whole-archive -lcriterion
endef

$(foreach c,$(CONFIGS),$(foreach s,$(STAGES),\
	$(eval $(call stage_rules,$s,$c,$(call out,$s,$c)))))

# Contract tests see only mm.h, so they are compiled once for all stages. The C
# library's malloc is tested as if it were a stage.
define shared_rules
$(call out,tests,$1)/contract/%.o: tests/contract/%.c Makefile
	$$(call compile,$$(FLAGS_$1) -Icommon -Itests)
$(call out,glibc,$1)/%.o: common/%.c Makefile
	$$(call compile,$$(FLAGS_$1) -Icommon)
$(call out,glibc,$1)/%.o: tests/contract/%.c Makefile
	$$(call compile,$$(FLAGS_$1) -Icommon)
$(call out,glibc,$1)/libmm.a: $(patsubst %,$(call out,glibc,$1)/%.o,\
		glibc check stats)
	$Qrm -f $$@ && ar rcs $$@ $$^
$(call link_rules,glibc,$1,$(call out,glibc,$1))
endef
$(foreach c,$(CONFIGS),$(eval $(call shared_rules,$c)))

-include $(wildcard build/*/*/*.d build/*/*/*/*.d)
.SECONDARY:

# ---------------------------------------------------------------------------
# Commands on stages. Each resolves STAGE to names first, and then calls make
# again with them, as _command in SELECTED. command-02 is command STAGE=02.

COMMANDS := build test asan ubsan tsan valgrind
$(addsuffix -%,$(COMMANDS)):
	+@$(MAKE) $(@:-$*=) STAGE='$*'

with_stages = +@selected=$$($(tool)/stages --with-glibc resolve '$(STAGE)') || \
	exit 2; $(MAKE) $1 SELECTED="$$selected"

build:
	$(call need,gcc libc)
	$(call with_stages,_build)
_build: $(foreach s,$(SELECTED),$(call out,$s,release)/libmalloc.so)
	@for library in $^; do echo "$$library"; done

# ---------------------------------------------------------------------------
# Tests. SUITE=contract/api_test runs one program, T=name one test of it.

suites_of = $(foreach k,contract unit,$(patsubst tests/%.c,%,\
	$(shell $(tool)/stages --with-glibc suites $k $1)))
scripts_of = $(if $(filter glibc,$1),,$(patsubst tests/%.sh,%,\
	$(wildcard tests/contract/*.sh)))
results_of = $(patsubst %,$(call out,$1,$2)/%.result,$(if $(SUITE),$(SUITE),\
	$(suites_of) $(if $(filter debug,$2),$(scripts_of))))
RESULTS = $(foreach s,$(SELECTED),$(call results_of,$s,$(CONFIG)))

test:
	$(call need,gcc libc criterion)
	$(call with_stages,_test CONFIG=debug)
asan ubsan tsan:
	$(call need,gcc libc criterion sanitizers)
	$(call with_stages,_test CONFIG=$@)
_test:
	@rm -f $(RESULTS)
	+@$(MAKE) -k $(RESULTS) || true
	@$(tool)/summary $(RESULTS)

# A result is made anew each time: its rule is phony by way of `again`.
define result_rules
$(call out,$1,$2)/contract/%.result: $(call out,$1,$2)/contract/% again
	@$(tool)/run_suite $$@ $1 contract/$$* $$< $$(if $$(T),--filter '*/$$(T)')
$(call out,$1,$2)/unit/%.result: $(call out,$1,$2)/unit/% again
	@$(tool)/run_suite $$@ $1 unit/$$* $$< $$(if $$(T),--filter '*/$$(T)')
$(call out,$1,$2)/contract/%.result: tests/contract/%.sh again \
		$(call out,$1,release)/libmalloc.so
	@$(tool)/run_suite $$@ $1 contract/$$* env CC='$(CC)' STAGE=$1 \
		LIBRARY=$(call out,$1,release)/libmalloc.so sh $$< $$(T)
endef
$(foreach c,debug asan ubsan tsan,$(foreach s,$(STAGES) glibc,\
	$(eval $(call result_rules,$s,$c))))

.PHONY: again help $(COMMANDS) _build _test
again:

clean:
	rm -rf build
.PHONY: clean
