# SPDX-License-Identifier: Apache-2.0
BENCH_PROGRAMS := $(O)/bench/firstbyte $(O)/bench/createvm $(O)/bench/kvmcalls
bench-programs: $(BENCH_PROGRAMS)
.PHONY: bench-programs
$(O)/bench/firstbyte: $(O)/obj/tests/bench/firstbyte.o
$(O)/bench/createvm: $(O)/obj/tests/bench/createvm.o
$(O)/bench/kvmcalls: $(O)/obj/tests/bench/kvmcalls.o
$(BENCH_PROGRAMS):
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^)
