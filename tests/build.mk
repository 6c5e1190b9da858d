# SPDX-License-Identifier: Apache-2.0
# Checks: lint, unit tests below sanitizers, fuzz corpora, end to end in a real KVM.

C_FILES := $(wildcard base/*.[ch] virtio/*.[ch] vmm/*.[ch] mux/*.[ch] runtime/*.[ch] agent/*.[ch] \
	tests/unit/*.[ch] tests/tsan/*.c tests/tsan/criterion/*.h tests/lib/*.[ch] tests/fuzz/*.[ch] tests/it/*.[ch] tests/lab/*.[ch])
SH_FILES := $(shell git ls-files --cached --others --exclude-standard 2>/dev/null | \
	xargs -r grep -lIE '^\#!.*\b(ba)?sh\b' 2>/dev/null)

fmt: ## format the sources in place
	clang-format -i $(C_FILES)

fmt-check:
	@clang-format --dry-run -Werror $(C_FILES)

lint: fmt-check lint-kernel-config ## formatting, include direction, headers, shell scripts, clang's warnings
	@sh tests/lint/includes.sh
	@sh tests/lint/tree.sh
	@sh tests/lint/rules.sh
	@sh tests/lint/headers.sh $(CC) $(CPPFLAGS_ALL)
	@shellcheck -x $(SH_FILES)
	@$(MAKE) --no-print-directory CC=clang O=build/clang programs

tidy: ## clang-tidy over all sources (minutes)
	@clang-tidy --quiet $(filter %.c,$(filter-out tests/%,$(C_FILES))) -- $(CPPFLAGS_ALL) -std=gnu11

check: ## everything: packages, build, lint, unit tests, corpora, end to end
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory all
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory check-unit
	@$(MAKE) --no-print-directory check-tsan
	@$(MAKE) --no-print-directory fuzz-regress
	@$(MAKE) --no-print-directory fuzz-short
	@$(MAKE) --no-print-directory check-it

# All but those that say at their head why they are run by name only.
IT := $(shell grep -L '^# not in check:' tests/it/*.sh)
# Gives machines up at awkward moments: tests/it/vmm-machine.sh.
$(O)/bin/machine_vm: $(O)/obj/tests/it/machine_vm.o $(LIB_VMM)
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS)

# Packets that are checked, from within containers of any kind: tests/it/*net*.sh.
$(O)/bin/netprobe: $(O)/obj/tests/it/netprobe.o
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^)

check-it: all guests $(O)/bin/machine_vm $(O)/bin/netprobe ## end to end, in this machine's KVM or in the lab
	@tests/run-it.sh $(O) $(IT)

demo: ## install packages, build, run a container in a microVM, show its boot
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory all
	@tests/demo.sh $(O)

bench: all ## figures beside the peers that are installed
	@tests/bench/run.sh $(O)

.PHONY: fmt fmt-check lint tidy check check-it demo bench
