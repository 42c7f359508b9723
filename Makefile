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
ALL_STAGES := $(notdir $(patsubst %/,%,$(wildcard stages/[0-9][0-9]-*/)))

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
CONFIGS := release debug asan ubsan tsan fuzz bench
FLAGS_release := -O2 -DMM_DEBUG=0 -DMM_COUNTERS=1
FLAGS_bench := -O2 -DMM_DEBUG=0 -DMM_COUNTERS=0
FLAGS_debug := -O1 -DMM_DEBUG=1 -DMM_COUNTERS=1
SANITIZED := $(FLAGS_debug) -fno-sanitize-recover=all -fno-omit-frame-pointer
FLAGS_asan := $(SANITIZED) -fsanitize=address,undefined
FLAGS_ubsan := $(SANITIZED) -fsanitize=undefined
FLAGS_tsan := $(SANITIZED) -fsanitize=thread
FLAGS_fuzz := $(SANITIZED) -fsanitize=fuzzer-no-link,address,undefined

tool := tests/tools
need = @sh common/setup.sh --need $1

# ---------------------------------------------------------------------------
# Building: rules for every stage and config, from the names of its sources.
# Programs of a stage that only make something (mksizeclasses.c) are left out.

out = build/$1/$(COMPILER)-$2
common_objects = $(patsubst common/%.c,$(call out,common,$1)/%.o,\
	$(filter-out common/preload.c common/harden.c,$(wildcard common/*.c)))
stage_objects = $(patsubst stages/$1/%.c,$(call out,$1,$2)/%.o,\
	$(filter-out stages/$1/mk%,$(wildcard stages/$1/*.c)))

# Suites that include nothing of a stage: no header of one, and no header of the
# tests that does, or that does through another.
stage_headers := $(sort heap.h $(notdir $(wildcard stages/*/*.h)))
including = $(notdir $(shell grep -l -e 'include "[a-z0-9_]*[.]c"' \
	$(1:%=-e '"%"') tests/*.h tests/unit/*.h))
staged := $(stage_headers) $(call including,$(stage_headers))
staged := $(sort $(staged) $(call including,$(staged)))
shared_units := $(patsubst tests/unit/%.c,%,$(shell \
	grep -L $(staged:%=-e '"%"') tests/unit/*_test.c))

define compile
@mkdir -p $(@D)
$Q$(CC) $(CFLAGS) $1 -MMD -MP -c -o $@ $<
endef

# stage_rules: $1 stage, $2 config, $3 directory of the build.
define stage_rules
$3/%.o: stages/$1/%.c Makefile
	$$(call compile,$$(FLAGS_$2) -Icommon -Istages/$1)
$3/unit/%.o: tests/unit/%.c Makefile
	$$(call compile,$$(FLAGS_$2) -Icommon -Istages/$1 -Itests)
$3/libmm.a: $$(call common_objects,$2) $$(call stage_objects,$1,$2)
	$Qrm -f $$@ && ar rcs $$@ $$^
$3/libmalloc.so: $$(patsubst %,$(call out,common,$2)/%.o,preload harden) \
		$3/libmm.a
	$Q$$(CC) $$(CFLAGS) $$(FLAGS_$2) $$(LIBRARY_FLAGS) -o $$@ \
		$$(filter %.o,$$^) -Wl,--whole-archive $3/libmm.a \
		-Wl,--no-whole-archive
$3/vectors/%.o: tests/replay/%.c Makefile
	$$(call compile,$$(FLAGS_$2) -Icommon -Istages/$1 -Itests \
		-DSTAGE_NUMBER=$(firstword $(subst -, ,$1)))
$3/unit/page_vectors_test: $$(call replay_objects,$3)
$(call link_rules,$1,$2,$3)
endef

# What replays vectors: a program, and a unit test.
replay_objects = $(patsubst %,$1/vectors/%.o,replay world bits sums)

# link_rules: the programs that are linked with the library of a stage.
define link_rules
$3/contract/%: $(call out,tests,$2)/contract/%.o $(call out,tests,$2)/runner.o \
		$3/libmm.a
	$$(call link_test,$2,$3)
$(shared_units:%=$3/unit/%): $3/unit/%: $(call out,tests,$2)/unit/%.o \
		$(call out,tests,$2)/runner.o $3/libmm.a
	$$(call link_test,$2,$3)
$3/unit/%: $3/unit/%.o $(call out,tests,$2)/runner.o $3/libmm.a
	$$(call link_test,$2,$3)
endef

define link_test
@mkdir -p $(@D)
$Q$(CC) $(CFLAGS) $(FLAGS_$1) -o $@ $(filter %.o,$^) \
	$(if $(filter tsan,$1),tests/tsan_rand.c) \
	-Wl,--whole-archive $2/libmm.a -Wl,--no-whole-archive -lcriterion
endef

$(foreach c,$(CONFIGS),$(foreach s,$(ALL_STAGES),\
	$(eval $(call stage_rules,$s,$c,$(call out,$s,$c)))))

# What sees no header of a stage is compiled once for all. The C library's
# malloc is tested as if it were a stage.
define shared_rules
$(call out,common,$1)/%.o: common/%.c Makefile
	$$(call compile,$$(FLAGS_$1) -Icommon)
$(call out,tests,$1)/%.o: tests/%.c Makefile
	$$(call compile,$$(FLAGS_$1) -Icommon -Itests)
$(call out,glibc,$1)/libmm.a: $(call out,tests,$1)/contract/glibc.o \
		$(patsubst %,$(call out,common,$1)/%.o,check stats)
	@mkdir -p $$(@D)
	$Qrm -f $$@ && ar rcs $$@ $$^
$(call link_rules,glibc,$1,$(call out,glibc,$1))
endef
$(foreach c,$(CONFIGS),$(eval $(call shared_rules,$c)))

-include $(wildcard build/*/*/*.d build/*/*/*/*.d)
.SECONDARY:

# ---------------------------------------------------------------------------
# Programs of a stage beside its tests: the picture of its heap, the replayer
# of traces, the fuzz target, and what makes one of its files (mksizeclasses).

define program_rules
$3/draw: $(wildcard diagrams/draw*.[ch]) $3/libmm.a Makefile
	$$(call link_program,$2,$3)
$3/process: diagrams/process.c $3/libmm.a Makefile
	$$(call link_program,$2,$3)
$3/page_cost: diagrams/page_cost.c $3/libmm.a Makefile
	$$(call link_program,$2,$3,-Istages/$1)
$3/diagrams/%: diagrams/$1/%.c $(wildcard diagrams/$1/*.h) \
		$(wildcard diagrams/draw_shapes.[ch]) \
		$3/libmm.a Makefile
	@mkdir -p $$(@D)
	$$(call link_program,$2,$3,-Istages/$1 -Idiagrams)
$3/replay: tests/traces/replay.c tests/traces/trace.c tests/traces/trace.h \
		$3/libmm.a Makefile
	$$(call link_program,$2,$3)
$3/vectors/replay: $3/vectors/main.o $$(call replay_objects,$3) $3/libmm.a
	$Q$$(CC) $$(CFLAGS) $$(FLAGS_$2) -o $$@ $$^
$3/fuzz: tests/fuzz/fuzz.c $3/libmm.a Makefile
	$$(call link_program,$2,$3,-fsanitize=fuzzer)
$3/fuzz_replay: tests/fuzz/fuzz.c $3/libmm.a Makefile
	$$(call link_program,$2,$3,-DFUZZ_REPLAY)
$3/mk%: stages/$1/mk%.c Makefile
	@mkdir -p $$(@D)
	$Q$$(CC) $$(CFLAGS) $$(FLAGS_$2) -o $$@ $$<
endef
define link_program
$Q$(CC) $(CFLAGS) $(FLAGS_$1) $3 -Icommon -o $@ $(filter %.c,$^) \
	-Wl,--whole-archive $2/libmm.a -Wl,--no-whole-archive
endef
$(foreach c,$(CONFIGS),$(foreach s,$(ALL_STAGES),\
	$(eval $(call program_rules,$s,$c,$(call out,$s,$c)))))

# A trace is a file, or the name of one that is committed, or made here.
trace_file = $(firstword $(wildcard $1 tests/traces/$1.rep) build/traces/$1.rep)
build/traces/%.rep: tests/traces/make_traces
	$Q$< $(@D) $*

# ---------------------------------------------------------------------------
# Commands on stages. Each resolves STAGE to names first, and then calls make
# again with them, as _command in SELECTED. command-02 is command STAGE=02.

COMMANDS := build test asan ubsan tsan valgrind realworld fuzz tour \
	run try misuse gdb walk draw trace replay classes bench fastpath
define stage_command
$1-%:
	+@$$(MAKE) $1 STAGE='$$*'
endef
$(foreach c,$(COMMANDS),$(eval $(call stage_command,$c)))

with_stages = +@selected=$$($(tool)/stages --with-glibc resolve '$(STAGE)') || \
	exit 2; $(MAKE) $1 SELECTED="$$(echo $$selected $2)"
libraries = $(foreach s,$(SELECTED),$(call out,$s,$1)/libmalloc.so)

# Much is built, and tests run, side by side: one more than there are
# processors, as some sleep; or as many as -j says.
JOBS = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell \
	expr $$(nproc) + 1))

build:
	$(call need,gcc libc)
	$(call with_stages,$(JOBS) _build)
_build: $(call libraries,release)
	@for library in $^; do echo "$$library"; done

# ---------------------------------------------------------------------------
# Tests. SUITE=contract/api_test runs one program, T=name one test of it.

suites_of = $(foreach k,contract unit,$(patsubst tests/%.c,%,\
	$(shell $(tool)/stages --with-glibc suites $k $1)))
scripts_of = $(foreach k,contract unit,$(patsubst tests/%.sh,%,\
	$(shell $(tool)/stages --with-glibc scripts $k $1)))
results_of = $(patsubst %,$(call out,$1,$2)/%.result,$(filter \
	$(or $(SUITE),$(if $(filter tsan,$2),$(threaded_suites),%)),\
	$(suites_of) $(if $(filter debug,$2),$(scripts_of))))
# Where there are no threads, there is nothing to find for ThreadSanitizer.
thread_headers = $(notdir $(shell grep -l pthread_create tests/*/*.h))
threaded_suites = $(patsubst tests/%.c,%,$(shell grep -l -e pthread_create \
	-e mm_start_thread \
	$(thread_headers:%=-e '"%"') tests/contract/*_test.c tests/unit/*_test.c))
RESULTS = $(foreach s,$(SELECTED),$(call results_of,$s,$(CONFIG))) \
	$(if $(and $(filter debug,$(CONFIG)),$(ALL)),$(tool_results))

# make test without a STAGE also tests the C library, and the tools.
test:
	$(call need,gcc libc criterion)
ifeq ($(STAGE)$(SUITE),all)
	$(call with_stages,_test CONFIG=debug ALL=1,glibc)
else
	$(call with_stages,_test CONFIG=debug)
endif
asan ubsan tsan:
	$(call need,gcc libc criterion sanitizers)
	$(call with_stages,_test CONFIG=$@)
_test:
	$(if $(strip $(RESULTS)),,@echo "no suite $(SUITE) applies to: $(SELECTED)" >&2; exit 2)
	@rm -f $(RESULTS)
	+@$(MAKE) -k $(JOBS) $(RESULTS) || true
	@$(tool)/summary $(RESULTS)

# What is tested in shell in one stage, is tested as it is measured: config
# bench. (fastpath is in the section Measuring.)
fastpath := $(call out,tests,bench)/fastpath

# A result is made anew each time: its rule is phony by way of `again`. What each
# test did is kept in .result.tap, if all tests ran: for the matrix.
tests_of = $(if $(T),--filter '*/$(T)',--tap=$@.tap)
define result_rules
$(call out,$1,$2)/contract/%.result: $(call out,$1,$2)/contract/% again
	@$(tool)/run_suite $$@ $1 contract/$$* $$< $$(tests_of)
$(call out,$1,$2)/unit/%.result: $(call out,$1,$2)/unit/% again
	@$(tool)/run_suite $$@ $1 unit/$$* $$< $$(tests_of)
$(call out,$1,$2)/contract/%.result: tests/contract/%.sh again \
		$(call out,$1,release)/libmalloc.so
	@$(tool)/run_suite $$@ $1 contract/$$* env CC='$(CC)' STAGE=$1 \
		LIBRARY=$(call out,$1,release)/libmalloc.so sh $$< $$(T)
$(call out,$1,$2)/unit/%.result: tests/unit/%.sh again \
		$(call out,$1,bench)/libmalloc.so $(fastpath)
	@$(tool)/run_suite $$@ $1 unit/$$* env CC='$(CC)' STAGE=$1 \
		LIBRARY=$(call out,$1,bench)/libmalloc.so FASTPATH=$(fastpath) \
		sh $$< $$(T)
endef
$(foreach c,debug asan ubsan tsan,$(foreach s,$(ALL_STAGES) glibc,\
	$(eval $(call result_rules,$s,$c))))

# Tests of the tools themselves.
tool_tests := $(wildcard tests/tools/*_test.sh tests/realworld/*_test.sh \
	tests/traces/*_test.sh tests/fuzz/*_test.sh tests/bench/*_test.sh \
	tests/model/*_test.sh tests/replay/*_test.sh tests/oracle/*_test.sh \
	diagrams/*_test.sh)
tool_results := $(patsubst %.sh,build/tools/%.result,$(tool_tests))
build/tools/%.result: %.sh again
	@$(tool)/run_suite $@ tools $(notdir $*) env CC='$(CC)' sh $<
test-tools:
	@rm -f $(tool_results)
	+@$(MAKE) -k $(JOBS) $(tool_results) || true
	@$(tool)/summary $(tool_results)

# The memory checks of valgrind, on the traces whose heap fits in the 8 MB that
# it has for the program break.
VALGRIND_TRACES := tail tail-free fragment holes lock random search
valgrind:
	$(call need,gcc libc valgrind)
	$(call with_stages,_valgrind)
_valgrind: $(SELECTED:%=_valgrind-%)
define valgrind_rule
_valgrind-$1: $(call out,$1,debug)/replay \
		$(foreach t,$(VALGRIND_TRACES),$(call trace_file,$t))
	@for trace in $$(filter %.rep,$$^); do \
		echo "valgrind $$< $$$$trace"; \
		valgrind -q --error-exitcode=9 $$< --quiet $$$$trace || exit 1; \
	done
endef
$(foreach s,$(ALL_STAGES),$(eval $(call valgrind_rule,$s)))

fuzz:
	$(call need,clang fuzzer)
	$(call with_stages,_fuzz CC=clang)
SECONDS ?= 60
FUZZ_FLAGS ?= -max_len=512 -len_control=0
_fuzz: $(SELECTED:%=_fuzz-%)
define fuzz_rule
_fuzz-$1: $(call out,$1,fuzz)/fuzz
	@mkdir -p $$<.corpus; echo "$$<"
	@$$< -max_total_time=$$(SECONDS) -artifact_prefix=$$<. $$(FUZZ_FLAGS) \
		$$<.corpus
endef
$(foreach s,$(ALL_STAGES),$(eval $(call fuzz_rule,$s)))

realworld:
	$(call need,gcc libc)
	$(call with_stages,_realworld)
_realworld: $(call libraries,release)
	@tests/realworld/run $(SELECTED)

# Every order of the steps by which threads share spans.
model:
	$(call need,gcc libc spin)
	@tests/model/check

matrix:
	$(call need,gcc libc criterion)
	+@$(tool)/matrix $(if $(UPDATE),--update,--check)

# ---------------------------------------------------------------------------
# Learning: run things, look at things.

tour:
	$(call need,gcc libc dot awk diff find sort)
	$(call with_stages,$(JOBS) _tour)
_tour: $(call libraries,release) $(foreach s,$(SELECTED),\
		$(call out,$s,release)/draw)
	@$(tool)/tour $(SELECTED)

one_stage = $(if $(word 2,$(SELECTED)),\
	@echo "this needs one stage: make $1-02" >&2; exit 2)

run:
	$(call need,gcc libc)
	$(call with_stages,_run)
_run: $(call libraries,release)
	$(call one_stage,run)
	$(if $(CMD),,@echo "usage: make run-02 CMD='git --version' [STATS=1]" >&2; \
		exit 2)
	@$(if $(STATS),rm -f build/run.stats; MM_STATS=$(CURDIR)/build/run.stats) \
		LD_PRELOAD=$(CURDIR)/$< sh -c "$$CMD"; status=$$?; \
		$(if $(STATS),tr ' ' '\n' <build/run.stats;) exit $$status
export CMD

try:
	$(call need,gcc libc)
	$(call with_stages,_try)
_try:
	$(call one_stage,try)
	@$(tool)/try '$(SELECTED)' "$$EDIT" "$$CMD"
export EDIT

misuse:
	$(call need,gcc libc)
	$(call with_stages,_misuse)
build/misuse: tests/contract/programs/misuse.c
	@mkdir -p $(@D)
	$Q$(CC) $(CFLAGS) -o $@ $<
_misuse: $(call libraries,release) build/misuse
	$(call one_stage,misuse)
	@$(if $(CASE),LD_PRELOAD=$(CURDIR)/$< build/misuse $(CASE); \
		echo "exit status $$?",echo "usage: make misuse-02 CASE=..., one of:"; \
		sed -n 's/^    {"\(.*\)", .*},/  \1/p' tests/contract/programs/misuse.c; \
		exit 2)

gdb:
	$(call need,gcc libc gdb)
	$(call with_stages,_gdb)
_gdb: $(call libraries,debug)
	$(call one_stage,gdb)
	@gdb -q -iex 'set startup-with-shell off' \
		-iex 'set environment LD_PRELOAD $(CURDIR)/$<' \
		--args $(if $(CMD),$(CMD),ls)

diff-%:
	@$(tool)/diff '$*' $(STYLE)
diff:
	@$(if $(and $(A),$(B)),$(tool)/diff '$(A)' '$(B)' $(STYLE),\
		echo "usage: make diff A=01 B=03 [STYLE=side|words|stat]" >&2; exit 2)

walk:
	$(call need,gcc libc)
	$(call with_stages,_walk)
_walk: $(foreach s,$(SELECTED),$(call out,$s,release)/draw)
	@for draw in $^; do $$draw --text $(or $(SCENE),diagrams/strip.scene) || \
		exit 1; done

draw:
	$(call need,gcc libc dot font)
	$(call with_stages,_draw)
makers = $(patsubst stages/$1/%.c,$(call out,$1,release)/%,\
	$(wildcard stages/$1/mk*.c))
pictures = $(patsubst diagrams/$1/%.c,$(call out,$1,release)/diagrams/%,\
	$(wildcard diagrams/$1/*.c))
# What the charts of a stage may plot: traces that they name, replayed on it and
# on the stage before, and what page_cost counts on both.
charts = $(wildcard diagrams/$1/*.gp)
plotted = $(if $(call charts,$1),$(shell grep -ho 'build/traces/[a-z]*[.]rep' \
	$(call charts,$1)) $(foreach s,$1 $(shell $(tool)/stages previous $1),\
	$(patsubst %,$(call out,$s,release)/%,replay \
	$(shell grep -ho page_cost $(call charts,$1) | sort -u))))
drawers = $(foreach s,$(filter-out glibc,$(SELECTED)),$(call out,$s,release)/draw \
	$(call makers,$s) $(call pictures,$s) $(call plotted,$s)) \
	$(call out,$(firstword $(ALL_STAGES)),release)/process
_draw: $(drawers)
	@COMPILER=$(COMPILER) diagrams/generate $(SELECTED)

TRACE ?= random
trace:
	$(call need,gcc libc)
	$(call with_stages,_trace)
_trace: $(call trace_file,$(TRACE)) \
		$(foreach s,$(SELECTED),$(call out,$s,release)/replay)
	@for stage in $(SELECTED); do \
		$(if $(word 2,$(SELECTED)),echo "$$stage";) \
		build/$$stage/$(COMPILER)-release/replay $(REPLAY_FLAGS) $< || exit 1; \
	done

# Vectors: recorded results of the page heap, replayed. FILE is files, or names of
# those that are committed, which are meant without it. CONFIG=ubsan looks for
# undefined behaviour, too.
vector_file = $(firstword $(wildcard $1 $(addprefix tests/vectors/,\
	$1.txt.xz $1.xz)) $1)
VECTOR_FILES = $(foreach f,$(or $(FILE),$(wildcard tests/vectors/*.txt.xz)),\
	$(call vector_file,$f))
with_page_heap = $(foreach s,$(filter-out glibc,$(SELECTED)),\
	$(shell $(tool)/stages applies tests/unit/page_vectors_test.c $s && echo $s))
replay:
	$(call need,gcc libc xz)
	$(call with_stages,_replay)
_replay: $(foreach s,$(with_page_heap),\
		$(call out,$s,$(or $(CONFIG),release))/vectors/replay)
	$(if $^,,@echo "none of these stages has Go's page heap: $(SELECTED)" >&2; \
		exit 2)
	@status=0; for replay in $^; do $$replay $(VECTOR_FILES) || status=$$?; \
		done; exit $$status

# What the Go runtime answers, recorded: SEED chooses other random operations.
SEED ?= 1
vectors:
	$(call need,go)
	@tests/oracle/record build/vectors-$(SEED) $(SEED)

classes:
	$(call need,gcc libc)
	$(call with_stages,_classes)
_classes: $(foreach s,$(SELECTED),$(call out,$s,release)/mksizeclasses)
	$(call one_stage,classes)
	@$< $(FLAGS)

# ---------------------------------------------------------------------------
# Measuring: stages and other mallocs side by side. STAGES=04,06 or STAGE=6,
# VS=jemalloc,PATH, QUICK=1, THREADS=1,2, BENCH=lifo,gcc, ROUNDS=7, OUT=FILE.
# Without a stage, the last two.

BENCH_STAGES = $(or $(STAGES),$(if $(filter file,$(origin STAGE)),\
	$(shell $(tool)/stages list | tail -n 2),$(STAGE)))
bench_programs := $(patsubst %,$(call out,tests,bench)/%,\
	launch bench_workloads resident)
$(bench_programs): $(call out,tests,bench)/%: tests/bench/%.c Makefile
	@mkdir -p $(@D)
	$Q$(CC) $(CFLAGS) $(FLAGS_bench) -o $@ $< -ldl

bench:
	$(call need,gcc libc python3)
	+@selected=$$($(tool)/stages resolve '$(BENCH_STAGES)') || exit 2; \
		$(MAKE) _bench SELECTED="$$(echo $$selected)"
_bench: $(call libraries,bench) $(bench_programs)
	@python3 tests/bench/bench.py \
		--launcher $(word 1,$(bench_programs)) \
		--workloads $(word 2,$(bench_programs)) \
		$(if $(VS),--vs '$(VS)') $(if $(QUICK),--quick) \
		$(if $(THREADS),--threads '$(THREADS)') \
		$(if $(BENCH),--bench '$(BENCH)') \
		$(if $(ROUNDS),--rounds '$(ROUNDS)') $(if $(OUT),--out '$(OUT)') \
		$(foreach s,$(SELECTED),$s=$(call out,$s,bench)/libmalloc.so)

# Resident memory over time, of stages and other mallocs. Stages with a scavenger
# run with its thread, too. STAGES, VS and OUT=FILE as above; ORDER=oldest,
# newest or random, MIB=1024, STEP=100.
resident:
	$(call need,gcc libc python3)
	+@selected=$$($(tool)/stages resolve '$(BENCH_STAGES)') || exit 2; \
		$(MAKE) _resident SELECTED="$$(echo $$selected)"
_resident: $(call libraries,bench) $(bench_programs)
	@python3 tests/bench/resident.py \
		--launcher $(word 1,$(bench_programs)) \
		--workloads $(word 2,$(bench_programs)) \
		--program $(word 3,$(bench_programs)) \
		$(if $(VS),--vs '$(VS)') $(if $(ORDER),--order '$(ORDER)') \
		$(if $(MIB),--mib '$(MIB)') $(if $(STEP),--step '$(STEP)') \
		$(foreach s,$(SELECTED),$s=$(call out,$s,bench)/libmalloc.so \
			$(if $(wildcard stages/$s/mgcscavenge.c),\
			$s+thread=$(call out,$s,bench)/libmalloc.so)) \
		$(if $(OUT),>'$(OUT)')

# The instructions of a malloc and of a free, shown and counted. MOST=20,30 says
# how many there may be.
$(fastpath): tests/tools/fastpath.c Makefile
	@mkdir -p $(@D)
	$Q$(CC) $(CFLAGS) $(FLAGS_bench) -o $@ $< -ldl

fastpath:
	$(call need,gcc libc objdump)
	$(call with_stages,_fastpath)
_fastpath: $(call libraries,bench) $(fastpath)
	@status=0; for library in $(filter %.so,$^); do echo "$$library"; echo; \
		$(tool)/fastpath $(if $(MOST),--most '$(MOST)') $(fastpath) \
			$$library || status=$$?; echo; done; exit $$status

# ---------------------------------------------------------------------------
# Teaching: the stages as a whole.

list:
	@$(tool)/table $(if $(UPDATE),--update)
diffstat:
	@$(tool)/diffstat
carry:
	$(call need,git)
	@$(if $(and $(FROM),$(FILE)),\
		BASE='$(BASE)' $(tool)/carry $(if $(FORCE),--force) '$(FROM)' '$(FILE)',\
		echo "usage: make carry FROM=02 FILE=malloc.c [BASE=rev] [FORCE=1]" >&2;\
		exit 2)
transcripts:
	@$(tool)/transcripts $(FILES)

# Do the pictures show what the stages do?
pictures:
	$(call need,gcc libc dot font)
	$(call with_stages,_pictures)
_pictures: $(drawers)
	@COMPILER=$(COMPILER) diagrams/generate --check $(SELECTED)

# Four readers that find what compilers do not. Each suppression stands in the
# source with its reason.
sources = $(wildcard common/*.[ch] stages/*/*.[ch] tests/*.[ch] \
	tests/*/*.[ch] tests/*/*/*.[ch] diagrams/*.[ch] diagrams/*/*.[ch])
LINT_CHECKS := -*,clang-analyzer-*,bugprone-*,-bugprone-easily-swappable-parameters,-bugprone-reserved-identifier,-bugprone-narrowing-conversions,-clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling
lint: $(addprefix _lint-,$(ALL_STAGES)) _lint-format _lint-shell
	@echo "no findings"
_lint-%:
	$(call need,gcc clang-tidy cppcheck)
	@for file in common/*.c stages/$*/*.c; do \
		gcc $(CFLAGS) $(FLAGS_debug) -O2 -fanalyzer -Icommon -Istages/$* \
			-c -o /dev/null $$file || exit 1; done
	@clang-tidy --quiet --warnings-as-errors='*' --checks='$(LINT_CHECKS)' \
		common/*.c stages/$*/*.c -- $(STANDARD) $(FLAGS_debug) -Icommon \
		-Istages/$* 2>/dev/null
	@cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 \
		--enable=warning,performance,portability \
		$(filter -D%,$(FLAGS_debug)) \
		-D__x86_64__ -Icommon -Istages/$* common stages/$*
_lint-format:
	$(call need,clang-format)
	@clang-format --dry-run --Werror $(sources)
_lint-shell:
	$(call need,shellcheck)
	@shellcheck -x -e SC1091,SC2015 $$(grep -rlE '^#!.*(sh|bash)$$' common tests diagrams .ci)

# Everything about the text of the sources that a machine can check.
check:
	@$(tool)/check_stages
	@$(tool)/check_refs
	@$(tool)/table --check

doctor:
	@sh common/setup.sh --check

clean:
	rm -rf build

.PHONY: again help clean doctor check transcripts carry diffstat list diff \
	matrix model pictures lint resident test-tools vectors $(COMMANDS) \
	$(addprefix _,$(COMMANDS))
again:

define HELP
Usage: make COMMAND. Most commands take a stage, as in build-02; without one,
they mean all. A stage is 2, 02, 02-linked-list, a range like 1-3, or all.

learn    tour           build every stage, run real programs on it, compare
         diff-02        what stage 02 changes, and why
         diff A=01 B=03 two stages; STYLE=side, words or stat
         list           all stages in a table
test     test-02        the tests of a stage; SUITE=contract/api_test T=name
         test           everything, the tools included
         asan-02        the same with a sanitizer: asan (with ubsan), ubsan, or
                        tsan (the suites with threads; any by SUITE)
         valgrind-02    all traces under valgrind
         realworld-02   git, gcc, python3 and others on the stage's malloc
         fuzz-02        random operations, SECONDS=60
         replay-13      what Go's page heap did, again: FILE=page_alloc or a path
         vectors SEED=2  records it anew, where Go 1.19 is installed
         matrix         all suites on all stages; each is red before it is green
         model          how threads share spans: tries every order of the steps
look     run-02 CMD='git log'  any program; STATS=1 adds its counters
         walk-02        the heap in text, SCENE=file
         draw-02        the heap in pictures: diagrams/02-*/*.svg
         gdb-02         CMD=ls in the debugger
         misuse-02 CASE=double_free  what does the stage say to that?
         try-01 EDIT='s/MM_ALIGNMENT/8/' CMD='git log'  with a line changed
measure  trace-02 TRACE=search  replay tests/traces/search.rep, show counters
         classes-04 FLAGS=--table  the size classes, and what they waste
         bench-04 VS=glibc,jemalloc QUICK=1  time and memory, side by side
         resident ORDER=newest   memory that is held after most is freed
         fastpath-08 MOST=20,30  the instructions of a malloc and of a free
teach    carry FROM=02 FILE=malloc.c  carry a repair into the later stages
         diffstat       how much each stage changes
         check          do the sources, CHANGES and tables agree?
         pictures       do the committed pictures still show what happens?
         transcripts    do the commands in the chapters print what they say?
         lint           what gcc -fanalyzer, clang-tidy and others find
also     build-02  doctor  clean
         CC=clang uses clang; V=1 shows the commands; -j2 works in parallel.
endef
export HELP
help:
	@echo "$$HELP"
