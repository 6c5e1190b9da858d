# SPDX-License-Identifier: Apache-2.0
# The mini OS image, from the agent and nothing else.

rootfs: $(O)/rootfs.erofs ## the mini OS image

$(O)/rootfs.erofs: $(O)/bin/husk-agent rootfs/build.sh
	@printf '  %-7s %s\n' EROFS $@
	@rootfs/build.sh $< $@

check-rootfs: $(O)/rootfs.erofs ## the image can be mapped with DAX, is whole and reproducible
	@rootfs/check.sh $(O)/bin/husk-agent $<
.PHONY: rootfs check-rootfs
