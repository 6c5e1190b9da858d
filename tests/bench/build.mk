# SPDX-License-Identifier: Apache-2.0
$(O)/bench/firstbyte: $(O)/obj/tests/bench/firstbyte.o
$(O)/bench/%:
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^)
