/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `husk update` changes: a linux.resources of the OCI spec, from a document or from flags, and
 * what becomes of the container's own. Zero and absent mean "leave it", as for runc; -1 is "no
 * limit". Pure.
 */
#ifndef HUSK_RUNTIME_UPDATE_SPEC_H
#define HUSK_RUNTIME_UPDATE_SPEC_H

#include <stddef.h>
#include "base/err.h"
#include "runtime/json.h"

/* The flags as words; NULL = not given. */
struct update_flags {
	const char *memory, *memory_reservation, *memory_swap; /* bytes, with k, m, g, t; or -1 */
	const char *cpu_period, *cpu_quota, *cpu_share, *cpu_burst, *cpu_idle;
	const char *cpuset_cpus, *cpuset_mems, *blkio_weight, *pids_limit;
	const char *cpu_rt_period, *cpu_rt_runtime, *kernel_memory, *kernel_memory_tcp;
	const char *l3_cache_schema, *mem_bw_schema;
};

/* Both: *ret is a new reference. The types are checked, unknown keys are ignored (OCI spec). */
int update_from_text(const char *text, size_t len, struct json_object **ret,
		     struct err *e) MUST_CHECK;
int update_from_flags(const struct update_flags *f, struct json_object **ret,
		      struct err *e) MUST_CHECK;

/*
 * @now: the container's linux.resources, NULL = none. *ret_all: what they become. *ret_changed: what
 * has to be written, with the halves of pairs that are written together (quota and period, memory
 * and swap) added from @now. Device rules are not changed by updates.
 */
int update_merge(struct json_object *now, struct json_object *change, struct json_object **ret_all,
		 struct json_object **ret_changed, struct err *e) MUST_CHECK;

/* "64m", "1g", "1073741824", "-1". -EINVAL, -ERANGE. */
int update_bytes(const char *text, int64_t *ret) MUST_CHECK;

#endif
