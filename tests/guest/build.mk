# SPDX-License-Identifier: Apache-2.0
# Guests made for tests: $(O)/guest/NAME.elf from tests/guest/NAME.S, 32-bit PVH kernels.
# NAME.S or kernel_NAME.c.
GUESTS := $(patsubst tests/guest/%.S,$(O)/guest/%.elf,$(wildcard tests/guest/*.S)) \
	$(patsubst tests/guest/%.c,$(O)/guest/%.elf,$(wildcard tests/guest/kernel_*.c))

$(O)/guest/%.elf: tests/guest/%.S tests/guest/pvh.inc tests/guest/guest.ld
	$(call say,GUEST,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) -m32 -nostdlib -static -no-pie -ffreestanding -Wl,--build-id=none -Wl,-z,max-page-size=4096 -Wl,--no-warn-rwx-segments \
		-Wa,-Itests/guest -T tests/guest/guest.ld -o $@ $<

$(O)/guest/kernel_%.elf: tests/guest/kernel_%.c tests/guest/guest.ld vmm/memmap.h
	$(call say,GUEST,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) -m32 -std=gnu11 -O2 $(WARN) -I. -mgeneral-regs-only -fno-tree-loop-distribute-patterns -fno-stack-protector -fcf-protection=none -fno-pie \
		-nostdlib -static -no-pie -ffreestanding -Wl,--build-id=none -Wl,-z,max-page-size=4096 -Wl,--no-warn-rwx-segments \
		-T tests/guest/guest.ld -o $@ $<

guests: $(GUESTS)
.PHONY: guests

# Static programs for a test's initrd.
GUEST_TOOLS := $(patsubst tests/guest/%.c,$(O)/guest/%,$(filter-out tests/guest/kernel_%,$(wildcard tests/guest/*.c)))
$(O)/guest/%: tests/guest/%.c
	$(call say,GUEST,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 -O2 $(WARN) -static -o $@ $<

guests: $(GUEST_TOOLS)
