# SPDX-License-Identifier: Apache-2.0
# check-unit: every criterion program, under the address and undefined behaviour sanitizers.

# Criterion forks each test; leak detection in such children reports its own memory.
UNIT_ENV := TSAN_OPTIONS=halt_on_error=1 ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1
UNIT_TIMEOUT ?= 300
# What has threads, and what runs devices.
TSAN := loop mmio smp p9 p9_fs p9_here p9_snap acks blk net vmem balloon pmem rng snap

check-unit: ## unit tests under sanitizers (T=name: one program)
	@$(MAKE) --no-print-directory MODE=asan unit-run

check-tsan: ## the unit tests with threads under the thread sanitizer
	@$(MAKE) --no-print-directory MODE=tsan unit-run T="$(or $(T),$(TSAN))"

unit-run: $(if $(T),$(T:%=$(O)/tests/test_%),$(UNIT))
	@pass=0; fail=0; failed=; for t in $^; do \
		if $(UNIT_ENV) timeout $(UNIT_TIMEOUT) $$t --jobs 1 >$$t.log 2>&1; then \
			pass=$$((pass + 1)); printf '  %-7s %s: %s\n' OK $${t##*/} \
				"$$(sed -n 's/.*Synthesis: //p' $$t.log | sed 's/\x1b\[[0-9;]*m//g')"; \
		else \
			fail=$$((fail + 1)); printf '  %-7s %s\n' FAILED $${t##*/}; tail -n 60 $$t.log; \
		fi; done; \
	echo "$$pass passed, $$fail failed"; test $$fail = 0 && test $$pass != 0
.PHONY: check-unit check-tsan unit-run
