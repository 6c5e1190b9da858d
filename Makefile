# SPDX-License-Identifier: Apache-2.0
# husk: one non-recursive makefile. `make help` lists the targets.
#
# MODE=release (static-pie, optimised), debug (dynamic, -O0) or asan (dynamic, address and undefined
# behaviour sanitizers), tsan (dynamic, thread sanitizer). Objects are in build/$(MODE); the guest kernel, which takes minutes, is in
# build/kernel and cached outside of the tree by the hash of all that it is made from.

MODE    ?= release
O       ?= build/$(MODE)
BK      ?= build/kernel
PREFIX  ?= /usr/local
DESTDIR ?=
WERROR  ?= 1
V       ?= 0
Q       := $(if $(filter 1,$(V)),,@)
say      = $(if $(filter 1,$(V)),,@printf '  %-7s %s\n' '$(1)' '$(2)')

VERSION := 0.1.0
COMMIT  := $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)

.DEFAULT_GOAL := all
.SECONDARY:
.DELETE_ON_ERROR:

# ---- packages ------------------------------------------------------------------------------------
DEPS_BUILD := gcc make pkg-config git ca-certificates libc6-dev \
	liburing-dev libfdt-dev libjson-c-dev libnl-3-dev libnl-route-3-dev libseccomp-dev libcap-dev libmd-dev \
	zlib1g-dev liblzma-dev libzstd-dev liblz4-dev \
	linux-source-6.1 flex bison bc libelf-dev libssl-dev xz-utils zstd lz4 rsync cpio kmod erofs-utils
DEPS_TEST := libcriterion-dev clang libclang-rt-dev clang-tidy clang-format shellcheck jq python3 \
	qemu-system-x86 linux-image-amd64 busybox-static crun runc iproute2 iputils-ping procps e2fsprogs strace systemd dbus \
	docker.io containerd podman conmon netavark aardvark-dns containernetworking-plugins apparmor iptables iperf3 passt socat fio sqlite3 acl
DEPS := $(DEPS_BUILD) $(DEPS_TEST)

# ---- flags ---------------------------------------------------------------------------------------
PKGS    := liburing libfdt json-c libnl-3.0 libnl-route-3.0 libseccomp libmd zlib liblzma libzstd liblz4
LIBS_release := -luring -lfdt -ljson-c -lnl-route-3 -lnl-3 -lseccomp -lmd -lzstd -llzma -llz4 -lz -lpthread -lm
LIBS    := $(LIBS_release)

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition \
	-Wpointer-arith -Wcast-qual -Wwrite-strings -Wundef -Wvla -Walloca -Wformat=2 \
	-Wnull-dereference -Wframe-larger-than=32768
IS_CLANG := $(shell $(CC) --version 2>/dev/null | grep -q clang && echo 1)
ifeq ($(IS_CLANG),1)
WARN += -Wno-gnu-statement-expression
else
WARN += -Wduplicated-cond -Wlogical-op -Wcast-align=strict -Wimplicit-fallthrough=5
endif
ifeq ($(WERROR),1)
WARN += -Werror
endif

CPPFLAGS_ALL := -I. -D_GNU_SOURCE -DHUSK_VERSION='"$(VERSION)"' -I/usr/include/libnl3
HARDEN := -fstack-protector-strong -fstack-clash-protection -fcf-protection -Wl,-z,relro,-z,now,-z,noexecstack
CFLAGS_COMMON := -std=gnu11 -g -fno-strict-aliasing -fno-common -fvisibility=hidden $(WARN)
CFLAGS_release := -O2 -D_FORTIFY_SOURCE=2 -fPIE -fstack-protector-strong -fstack-clash-protection \
	-fcf-protection $(if $(IS_CLANG),,-ftrivial-auto-var-init=zero)
CFLAGS_debug   := -O0 -fPIE
CFLAGS_asan    := -O1 -fPIE -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
CFLAGS_tsan    := -O1 -fPIE -fno-omit-frame-pointer -fsanitize=thread
LDFLAGS_release := -static-pie -Wl,-z,relro,-z,now,-z,noexecstack,-z,pack-relative-relocs
LDFLAGS_debug   := -pie
LDFLAGS_asan    := -pie -fsanitize=address,undefined
LDFLAGS_tsan    := -pie -fsanitize=thread
# -Wnull-dereference of gcc 12 is wrong about inlined code below sanitizers.
WARN_asan       := -Wno-null-dereference
# Fences, which the thread sanitizer does not follow, are in the rings alone: both sides are one thread in tests.
WARN_tsan       := -Wno-null-dereference $(if $(IS_CLANG),,-Wno-tsan)
CFLAGS_ALL  = $(CFLAGS_COMMON) $(CFLAGS_$(MODE)) $(WARN_$(MODE)) $(CFLAGS)
LDFLAGS_ALL = $(LDFLAGS_$(MODE)) $(LDFLAGS)

# ---- sources -------------------------------------------------------------------------------------
# A folder's library is all of its files but main.c, which holds the program.
DIRS := base virtio vmm mux runtime agent
SRCS = $(filter-out %/main.c,$(wildcard $(1)/*.c $(1)/*.S))
OBJS = $(patsubst %,$(O)/obj/%.o,$(basename $(call SRCS,$(1))))
AR_LIB = $(O)/lib/lib$(1).a
$(foreach d,$(DIRS),$(eval $(call AR_LIB,$(d)): $(call OBJS,$(d))))
# Library order for the linker: users before what they use.
LIB_VMM   := $(foreach d,vmm virtio base,$(O)/lib/lib$(d).a)
LIB_HUSK  := $(foreach d,runtime vmm virtio mux base,$(O)/lib/lib$(d).a)
LIB_AGENT := $(foreach d,agent mux base,$(O)/lib/lib$(d).a)
LIB_ALL   := $(foreach d,runtime agent vmm virtio mux base,$(O)/lib/lib$(d).a)

PROGRAMS := $(O)/bin/husk $(O)/bin/vmm $(O)/bin/husk-agent

all: programs kernel rootfs ## the programs, the guest kernel and the mini OS image
programs: $(PROGRAMS) ## husk, vmm and husk-agent only
.PHONY: all programs

$(O)/obj/%.o: %.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CPPFLAGS) $(CFLAGS_ALL) -MMD -MP -c $< -o $@

$(O)/obj/%.o: %.S
	$(call say,AS,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CPPFLAGS) -g -MMD -MP -c $< -o $@

$(O)/lib/%.a:
	$(call say,AR,$@)
	@mkdir -p $(@D)
	@rm -f $@
	$(Q)$(AR) rcs $@ $(filter %.o,$^)

$(O)/bin/husk: $(O)/obj/runtime/main.o $(LIB_HUSK)
$(O)/bin/vmm: $(O)/obj/vmm/main.o $(LIB_VMM)
$(O)/bin/husk-agent: $(O)/obj/agent/main.o $(LIB_AGENT)
$(PROGRAMS):
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS)

# ---- unit tests ----------------------------------------------------------------------------------
# Each tests/unit/test_*.c is one criterion program with every library behind it.
UNIT := $(patsubst tests/unit/%.c,$(O)/tests/%,$(wildcard tests/unit/test_*.c))
TEST_LIB := $(patsubst %.c,$(O)/obj/%.o,$(wildcard tests/lib/*.c))
# Below the thread sanitizer criterion does not start: tests/tsan has as much of it as is needed.
ifeq ($(MODE),tsan)
CPPFLAGS_ALL += -Itests/tsan
UNIT_MAIN    := $(O)/obj/tests/tsan/main.o
else
UNIT_LIBS    := -lcriterion
endif
$(O)/tests/%: $(O)/obj/tests/unit/%.o $(UNIT_MAIN) $(TEST_LIB) $(LIB_ALL)
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) $(filter-out -static-pie,$(LDFLAGS_ALL)) -pie -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS) $(UNIT_LIBS)

unit-programs: $(UNIT)
.PHONY: unit-programs

-include $(wildcard */build.mk tests/*/build.mk)

DEPFILES := $(shell test -d $(O)/obj && find $(O)/obj -name '*.d' 2>/dev/null)
-include $(DEPFILES)

# ---- the rest ------------------------------------------------------------------------------------
deps: ## install every Debian package that building and testing needs
	@missing=; for p in $(DEPS); do \
		dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then echo "installing:$$missing"; \
		$(if $(filter 0,$(shell id -u)),,sudo) sh -c "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing"; fi

clean: ## remove build/ (not the kernel cache)
	rm -rf build

help: ## this list
	@awk -F':.*## ' '/^[a-z][a-z-]*:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
.PHONY: deps clean help
