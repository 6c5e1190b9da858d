# SPDX-License-Identifier: Apache-2.0
# Guests made for tests: $(O)/guest/NAME.elf from tests/guest/NAME.S, 32-bit PVH kernels.
GUESTS := $(patsubst tests/guest/%.S,$(O)/guest/%.elf,$(wildcard tests/guest/*.S))

$(O)/guest/%.elf: tests/guest/%.S tests/guest/guest.ld
	$(call say,GUEST,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) -m32 -nostdlib -static -no-pie -ffreestanding -Wl,--build-id=none -Wl,-z,max-page-size=4096 \
		-T tests/guest/guest.ld -o $@ $<

guests: $(GUESTS)
.PHONY: guests

# Static programs for a test's initrd.
GUEST_TOOLS := $(patsubst tests/guest/%.c,$(O)/guest/%,$(wildcard tests/guest/*.c))
$(O)/guest/%: tests/guest/%.c
	$(call say,GUEST,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 -O2 $(WARN) -static -o $@ $<

guests: $(GUEST_TOOLS)
