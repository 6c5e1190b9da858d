/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How other VMMs are started with the same kernel, initrd and memory: the peers of `vmm bench boot`.
 */
#ifndef HUSK_VMM_BENCH_PEER_H
#define HUSK_VMM_BENCH_PEER_H

#include "vmm/bench.h"

struct bench_guest {
	const char *kernel, *initrd; /* initrd: NULL = none */
	const char *append;	     /* the user's words for the kernel's command line */
	unsigned cpus;
	uint64_t memory;
	bool serial;	  /* it speaks on ttyS0; else on hvc0 where the peer has it */
	bool serial_only; /* not on hvc0 as well */
};

/*
 * Adds a peer: "qemu", "firecracker", "cloud-hypervisor", "kvmtool", or "NAME=COMMAND", any command
 * line, split at blanks, in which {kernel}, {initrd}, {memory} (MiB), {cpus} and {append} are filled
 * in. @dir: where a configuration file may be written; the caller removes it.
 */
int bench_peer_add(struct bench_plan *p, const char *peer, const struct bench_guest *g,
		   const char *dir, struct err *e) MUST_CHECK;

/* Firecracker's --config-file, malloc'd. NULL: out of memory. */
char *bench_peer_firecracker_config(const struct bench_guest *g);

#endif
