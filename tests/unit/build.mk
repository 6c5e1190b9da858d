# SPDX-License-Identifier: Apache-2.0
# check-unit: every criterion program, under the address and undefined behaviour sanitizers.

# Criterion forks each test; leak detection in such children reports its own memory.
UNIT_ENV := ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1
UNIT_TIMEOUT ?= 300

check-unit: ## unit tests under sanitizers (T=name: one program)
	@$(MAKE) --no-print-directory MODE=asan unit-run

unit-run: $(if $(T),$(O)/tests/test_$(T),$(UNIT))
	@pass=0; fail=0; failed=; for t in $^; do \
		if $(UNIT_ENV) timeout $(UNIT_TIMEOUT) $$t --jobs 1 >$$t.log 2>&1; then \
			pass=$$((pass + 1)); printf '  %-7s %s: %s\n' OK $${t##*/} \
				"$$(sed -n 's/.*Synthesis: //p' $$t.log | sed 's/\x1b\[[0-9;]*m//g')"; \
		else \
			fail=$$((fail + 1)); printf '  %-7s %s\n' FAILED $${t##*/}; tail -n 60 $$t.log; \
		fi; done; \
	echo "$$pass passed, $$fail failed"; test $$fail = 0 && test $$pass != 0
.PHONY: check-unit unit-run
