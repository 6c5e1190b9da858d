/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory: the one checked door to it.
 *
 * The map is filled before the first vCPU runs and frozen then, so readers need no lock (memory that is
 * added later goes through gmem_add() on the loop thread with vCPUs unaware of it until the guest is
 * told). Guest memory changes under our feet at any time: whatever is judged is copied first, once.
 */
#ifndef HUSK_VIRTIO_GMEM_H
#define HUSK_VIRTIO_GMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include "base/compiler.h"

#define GMEM_REGIONS_MAX 16

struct gmem_region {
	uint64_t gpa;
	uint64_t len;
	uint8_t *host;
	bool readonly; /* device writes are refused (pmem images) */
	bool ram;      /* anonymous memory: its pages can be given back */
};

struct gmem {
	struct gmem_region r[GMEM_REGIONS_MAX];
	unsigned cnt;
};

/*
 * Adds RAM (or a pmem image) to the map; the memory stays the caller's and outlives the map.
 * -EINVAL when empty, wrapping or overlapping, -ENOSPC when the table is full.
 */
int gmem_add(struct gmem *m, uint64_t gpa, uint64_t len, void *host, bool readonly) MUST_CHECK;

/* The same for the guest's RAM: private memory whose pages are zero until they are written. */
int gmem_add_ram(struct gmem *m, uint64_t gpa, uint64_t len, void *host) MUST_CHECK;
/* The RAM region at @gpa has @len bytes from now on, more than before. -ENOENT, or as gmem_add(). */
int gmem_grow(struct gmem *m, uint64_t gpa, uint64_t len) MUST_CHECK;

/*
 * Gives the whole pages inside [gpa, gpa+len) back to the host: they read as zeros then, and cost
 * nothing until they are written. -EFAULT when any byte is not RAM, and nothing has happened; else
 * what madvise(2) says. gmem_discard_span(): the same for a span that gmem_iov() has made.
 */
int gmem_discard(const struct gmem *m, uint64_t gpa, uint64_t len) MUST_CHECK;
int gmem_discard_span(const struct gmem *m, const struct iovec *span) MUST_CHECK;

/* Copies, crossing regions. 0 or -EFAULT when any byte is not mapped (writes: or is read-only). */
int gmem_read(const struct gmem *m, uint64_t gpa, void *dst, size_t len) MUST_CHECK;
int gmem_write(const struct gmem *m, uint64_t gpa, const void *src, size_t len) MUST_CHECK;

/*
 * Appends the host spans of [gpa, gpa+len) to @iov, adjacent ones merged. *@cnt is how many are there
 * before and after; @cap the array's size. @writable: the device is going to write there. 0, -EFAULT
 * (unmapped or read-only), -E2BIG (array full). The spans stay valid as long as the map.
 */
int gmem_iov(const struct gmem *m, uint64_t gpa, uint64_t len, bool writable, struct iovec *iov,
	     unsigned cap, unsigned *cnt) MUST_CHECK;

/* A span inside one region, aligned to @align (a power of two), or NULL. For rings and the loader. */
void *gmem_map(const struct gmem *m, uint64_t gpa, uint64_t len, uint64_t align, bool writable);

/* Bytes in @iov. */
size_t iov_len(const struct iovec *iov, unsigned cnt);
/* Copy from/to the vector at byte @off; return the bytes copied (short at the vector's end). */
size_t iov_read(const struct iovec *iov, unsigned cnt, size_t off, void *dst, size_t len);
size_t iov_write(const struct iovec *iov, unsigned cnt, size_t off, const void *src, size_t len);
/*
 * Makes @dst (room for @cap) describe the part [off, off+len) of @src. Returns the number of entries;
 * the part may come out shorter at the end of @src or when @cap is too small: *@ret_len tells.
 */
unsigned iov_slice(const struct iovec *src, unsigned cnt, size_t off, size_t len, struct iovec *dst,
		   unsigned cap, size_t *ret_len);

#endif
