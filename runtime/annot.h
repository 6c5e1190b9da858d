/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Annotations of config.json that size or change a container's VM. Whoever starts containers writes
 * them, so they are untrusted: those of ours (io.husk.*) count only where the administrator's
 * enable_annotations has their last word, and one that is not allowed, or whose value is wrong, is
 * refused by name: a container that asked for 4 GiB and silently got 256 MiB would be harder to
 * understand. Names below io.husk. that nobody knows are ignored with a line in the log, as the OCI
 * runtime spec demands of unknown annotations.
 */
#ifndef HUSK_RUNTIME_ANNOT_H
#define HUSK_RUNTIME_ANNOT_H

#include <stdint.h>
#include "base/err.h"
#include "runtime/config.h"

#define ANNOT_PREFIX "io.husk."

struct annot {
	/* 0 or NULL = not given. Strings are the document's. */
	uint64_t memory; /* bytes of guest memory, all of it */
	unsigned vcpus;
	const char *kernel; /* absolute path that annotation_paths allows */
	const char *kernel_params;
	uint64_t rx_rate, tx_rate; /* bytes a second of each NIC; 0 = not said */
	/*
	 * What the engine knows of a pod's containers, written on the pod's sandbox container:
	 * containerd as io.kubernetes.cri.sandbox-memory, -cpu-quota, -cpu-period, -cpu-shares;
	 * CRI-O as one JSON object in io.kubernetes.cri-o.PodLinuxResources.
	 */
	int64_t pod_memory, pod_quota;
	uint64_t pod_period, pod_shares;
};

/* @annotations: an object whose values are strings, or NULL. */
int annot_read(struct annot *ret, struct json_object *annotations, const struct config *c,
	       struct err *e) MUST_CHECK;

#endif
