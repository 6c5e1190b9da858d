# SPDX-License-Identifier: Apache-2.0
# Fuzzing. Each tests/fuzz/fuzz_NAME.c has LLVMFuzzerTestOneInput() and nothing that keeps state between
# inputs; its seeds, and every input that ever crashed it, are in tests/fuzz/corpus/NAME.
#
#   make fuzz F=vq T=60   libFuzzer (clang) on one target, or on all of them, T seconds each
#   make fuzz-regress     replays the corpus below the address and undefined behaviour sanitizers
#   make fuzz-short       three seconds each from the corpus on, always with the same random numbers; nothing is kept
#
# The rest of a corpus is what an hour of each found, as few inputs as reach the same edges:
#   fuzz_NAME -merge=1 -use_counters=0 tests/fuzz/corpus/NAME FOUND

CFLAGS_fuzz  := -O1 -fPIE -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined \
	-fno-sanitize-recover=all
LDFLAGS_fuzz := -pie -fsanitize=fuzzer,address,undefined
WARN_fuzz    := -Wno-null-dereference

FUZZ_NAMES := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_RUN   := $(if $(F),$(F),$(FUZZ_NAMES))
FUZZ_ENV   := ASAN_OPTIONS=abort_on_error=1:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
# libFuzzer has the main() of fuzzing; without it (MODE=asan) there is our own.
FUZZ_MAIN   = $(if $(filter fuzz,$(MODE)),,$(O)/obj/tests/fuzz/replay_main.o)

# As an archive, so that only what a target uses is linked.
$(O)/lib/libtest.a: $(TEST_LIB)

$(O)/fuzz/fuzz_%: $(O)/obj/tests/fuzz/fuzz_%.o $(O)/obj/tests/fuzz/replay_main.o $(O)/lib/libtest.a $(LIB_ALL)
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $< $(FUZZ_MAIN) $(filter %.a,$^) $(LIBS)

fuzz: ## fuzz F=name (default: all) for T=seconds each (default 60)
	@$(MAKE) --no-print-directory MODE=fuzz CC=clang WERROR=0 fuzz-run

fuzz-run: $(FUZZ_RUN:%=$(O)/fuzz/fuzz_%)
	@for n in $(FUZZ_RUN); do \
		mkdir -p $(O)/corpus/$$n $(O)/crashes tests/fuzz/corpus/$$n; echo "fuzz $$n"; \
		$(FUZZ_ENV) $(O)/fuzz/fuzz_$$n -max_total_time=$(or $(T),60) -timeout=10 -max_len=4096 \
			-rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 -print_funcs=0 \
			-artifact_prefix=$(O)/crashes/$$n- $(O)/corpus/$$n tests/fuzz/corpus/$$n || exit 1; \
	done

fuzz-short: ## a short run of each target, T seconds (3)
	@$(MAKE) --no-print-directory MODE=fuzz CC=clang WERROR=0 fuzz-brief

fuzz-brief: $(FUZZ_RUN:%=$(O)/fuzz/fuzz_%)
	@fail=0; mkdir -p $(O)/crashes; for n in $(FUZZ_RUN); do \
		rm -rf $(O)/corpus-short; mkdir $(O)/corpus-short; \
		if $(FUZZ_ENV) timeout 300 $(O)/fuzz/fuzz_$$n -max_total_time=$(or $(T),3) -seed=1 -timeout=60 -max_len=4096 \
			-rss_limit_mb=2048 -print_final_stats=1 -print_funcs=0 \
			-artifact_prefix=$(O)/crashes/$$n- $(O)/corpus-short tests/fuzz/corpus/$$n >$(O)/fuzz/$$n.log 2>&1 </dev/null; \
		then printf '  %-7s fuzz_%s: %s inputs\n' OK $$n \
			"$$(sed -n 's/^stat::number_of_executed_units: *//p' $(O)/fuzz/$$n.log)"; \
		else fail=$$((fail + 1)); printf '  %-7s fuzz_%s\n' FAILED $$n; \
			tail -n 60 $(O)/fuzz/$$n.log; fi; \
	done; test $$fail = 0

fuzz-regress: ## replay the fuzzing corpus under sanitizers (F=name: one target)
	@$(MAKE) --no-print-directory MODE=asan fuzz-replay

fuzz-replay: $(FUZZ_RUN:%=$(O)/fuzz/fuzz_%)
	@fail=0; for n in $(FUZZ_RUN); do \
		if $(FUZZ_ENV):detect_leaks=1 timeout 120 $(O)/fuzz/fuzz_$$n tests/fuzz/corpus/$$n \
			>$(O)/fuzz/$$n.log 2>&1; \
		then printf '  %-7s fuzz_%s: %s\n' OK $$n "$$(tail -n 1 $(O)/fuzz/$$n.log)"; \
		else fail=$$((fail + 1)); printf '  %-7s fuzz_%s\n' FAILED $$n; \
			tail -n 60 $(O)/fuzz/$$n.log; fi; \
	done; test $$fail = 0
.PHONY: fuzz fuzz-run fuzz-short fuzz-brief fuzz-regress fuzz-replay
