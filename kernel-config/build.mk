# SPDX-License-Identifier: Apache-2.0
# The guest kernel. build.sh compares hashes itself, in a few hundredths of a second, so the target is always run; the
# files change only when it really builds.

BK ?= build/kernel

kernel: ## the guest kernel: vmlinux and bzImage (minutes when it is not in the cache)
	@kernel-config/build.sh $(BK)

$(BK)/vmlinux $(BK)/bzImage: kernel
	@:

lint-kernel-config:
	@kernel-config/check.sh --lint
.PHONY: kernel lint-kernel-config
