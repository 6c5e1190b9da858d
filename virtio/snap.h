/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The form of saved state: records, one after the other, each with a tag, a version and a length, all
 * little-endian. What a reader does not know it refuses; nothing in a record depends on host addresses,
 * descriptors or paths. A file of records may have been tampered with: readers check all they read.
 */
#ifndef HUSK_VIRTIO_SNAP_H
#define HUSK_VIRTIO_SNAP_H

#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/compiler.h"

#define SNAP_TAG(a, b, c, d)                                                                       \
	((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)

struct snap_rd {
	const uint8_t *p;
	size_t left;
};

/* Appends a record. 0 or -ENOMEM. */
int snap_put(struct buf *to, uint32_t tag, uint16_t version, const void *p, size_t len) MUST_CHECK;
/*
 * Takes the next record, which must be @tag of @version with at least @min bytes: its bytes stay @r's.
 * 0, -EPROTO (another record, or cut off), -EOPNOTSUPP (another version).
 */
int snap_get(struct snap_rd *r, uint32_t tag, uint16_t version, size_t min, const uint8_t **p,
	     size_t *len) MUST_CHECK;

#endif
