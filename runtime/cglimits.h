/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What linux.resources means for the cgroup of a sandbox process on the host. The exact limits hold
 * inside the guest; those here are the spec's where they are about the host's CPUs, devices and
 * tasks, and the VM's size plus a declared overhead where they are about memory, because the
 * process is a whole machine. Arithmetic and text only: cgroup.c writes it, scope.c tells systemd.
 */
#ifndef HUSK_RUNTIME_CGLIMITS_H
#define HUSK_RUNTIME_CGLIMITS_H

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "runtime/json.h"
#include "runtime/sizing.h"

#define CGLIMITS_NONE INT64_MAX /* "no limit", where 0 is "not given" */
/*
 * Page tables of a guest, part of its memory: 8 bytes a page each in the process's own, in KVM's, and
 * in KVM's way back from pages to them, with room.
 */
#define CGLIMITS_TABLES(memory) ((memory) / 128)
/* Tasks beside the vCPUs and the container's: loop, 9p workers, watchers, the ring's workers. */
#define CGLIMITS_VMM_TASKS 96

struct cglimits {
	/* 0 = not given: left as it is; CGLIMITS_NONE = without a limit. Bytes. */
	int64_t memory; /* guest memory, its page tables, and overhead */
	int64_t high;	/* unified memory.high and the same overhead */
	int64_t swap;	/* beyond memory; given only with has_swap, because 0 is none at all */
	int64_t low;	/* reservation */
	bool has_swap;
	uint64_t shares; /* of v1, 2 to 262144 */
	uint64_t weight; /* of v2, 1 to 10000 */
	int64_t quota;	 /* microseconds in each period */
	uint64_t period, burst;
	int64_t idle;	       /* -1 = not given */
	int64_t pids;	       /* the container's and the VMM's tasks */
	uint64_t io_weight;    /* of v2, 1 to 10000 */
	uint64_t blkio_weight; /* of v1, 10 to 1000 */
	uint64_t classid;
	const char *cpus, *mems;	     /* NULL = not given. Strings are the document's. */
	struct json_object *blkio, *network; /* linux.resources.blockIO, .network */
	struct json_object *unified; /* what is left for v2 as it is: cpu.*, cpuset.*, io.*, ... */
};

/*
 * @resources: linux.resources, or what `husk update --resources` was given; NULL = none. Types are
 * checked here, too. @size: the VM as it is or will be. Errors name the field.
 */
int cglimits_of(struct cglimits *ret, struct json_object *resources, const struct sizing *size,
		struct err *e) MUST_CHECK;

/* cpu.shares of v1 as cpu.weight of v2; blkio.weight as io.weight. */
uint64_t cglimits_weight_of_shares(uint64_t shares);
uint64_t cglimits_weight_of_blkio(uint64_t weight);

/*
 * Calls @put for each file and its text, in the order of writing. @version 1: @file belongs to the
 * hierarchy of the controller that it begins with. @put returns 0 or -errno, which ends it.
 */
typedef int (*cglimits_put)(void *ctx, const char *file, const char *text);
int cglimits_files(const struct cglimits *l, unsigned version, cglimits_put put, void *ctx);

#endif
