# SPDX-License-Identifier: Apache-2.0
# husk-agent: small, since it is a part of every guest's memory; of the libraries it needs json-c alone.

$(O)/bin/husk-agent: LIBS := -ljson-c
ifeq ($(MODE),release)
# What the agent does not call is left out by function: of these, it draws in half of the C library otherwise.
$(O)/obj/base/%.o $(O)/obj/mux/%.o: CFLAGS_ALL += -ffunction-sections -fdata-sections
$(O)/obj/agent/%.o: CFLAGS_ALL += -Os -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables
$(O)/bin/husk-agent: LDFLAGS_ALL += -s -Wl,--gc-sections
endif

# Drives the agent in name spaces of this machine: tests/it/agent-ns.sh.
$(O)/bin/agent_driver: $(O)/obj/tests/it/agent_driver.o $(O)/lib/libmux.a $(O)/lib/libbase.a
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) $(filter %.a,$^) -ljson-c
$(O)/bin/agent_vm: $(O)/obj/tests/it/agent_vm.o $(LIB_VMM)
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS)

check-it: $(O)/bin/agent_driver $(O)/bin/agent_vm
