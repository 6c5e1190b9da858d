/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest RAM and file windows: host mappings on 2 MiB bounds, so that huge pages fit on both sides.
 */
#ifndef HUSK_VMM_MEM_H
#define HUSK_VMM_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/compiler.h"
#include "base/err.h"

struct mem_map {
	uint8_t *host; /* 2 MiB aligned; NULL: none */
	uint64_t len;
	void *base; /* what munmap() gets */
	size_t base_len;
};

/* Private anonymous memory, huge pages advised, not in core dumps, not touched. 0 or -errno. */
int mem_ram(struct mem_map *m, uint64_t len) MUST_CHECK;

/*
 * @file_len bytes of @fd from its start, shared with everybody who maps the file, in a window that
 * is rounded up to 2 MiB; behind the file's last page it is zeros. 0 or -errno.
 */
int mem_file(struct mem_map *m, int fd, uint64_t file_len, bool readonly) MUST_CHECK;

void mem_unmap(struct mem_map *m); /* fine on a zeroed one */

#endif
