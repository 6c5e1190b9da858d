/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory: lookup, checked copies, host spans; and the vector helpers that devices copy with.
 * See gmem.h for the contract. Stateless but for the map; any thread that may read the map.
 *
 * Arithmetic rule of this file: subtract then compare, never add then compare.
 */
#include "virtio/gmem.h"

#include <errno.h>
#include <string.h>

int gmem_add(struct gmem *m, uint64_t gpa, uint64_t len, void *host, bool readonly)
{
	if (len == 0 || !host || len - 1 > UINT64_MAX - gpa)
		return -EINVAL;
	for (unsigned i = 0; i < m->cnt; i++) {
		const struct gmem_region *r = &m->r[i];

		/* Whichever starts first must end before the other one starts. */
		if (gpa >= r->gpa ? gpa - r->gpa < r->len : r->gpa - gpa < len)
			return -EINVAL;
	}
	if (m->cnt == GMEM_REGIONS_MAX)
		return -ENOSPC;
	m->r[m->cnt] =
	    (struct gmem_region){.gpa = gpa, .len = len, .host = host, .readonly = readonly};
	/* A reader on another thread sees the entry whole or not at all. */
	__atomic_store_n(&m->cnt, m->cnt + 1, __ATOMIC_RELEASE);
	return 0;
}

/* The host run at @gpa, *@len trimmed to what is contiguous there; NULL when nothing is mapped. */
static uint8_t *run_at(const struct gmem *m, uint64_t gpa, uint64_t *len, bool writable)
{
	unsigned cnt = __atomic_load_n(&m->cnt, __ATOMIC_ACQUIRE);

	for (unsigned i = 0; i < cnt; i++) {
		const struct gmem_region *r = &m->r[i];
		uint64_t off =
		    gpa - r->gpa; /* below the region it wraps huge, and fails the test */

		if (off >= r->len)
			continue;
		if (writable && r->readonly)
			return NULL;
		if (*len > r->len - off)
			*len = r->len - off;
		return r->host + off;
	}
	return NULL;
}

int gmem_read(const struct gmem *m, uint64_t gpa, void *dst, size_t len)
{
	uint8_t *to = dst;

	while (len) {
		uint64_t run = len;
		const uint8_t *from = run_at(m, gpa, &run, false);

		if (!from)
			return -EFAULT;
		memcpy(to, from, run);
		to += run;
		len -= run;
		/* The last byte of the address space is the end: nothing follows it at 0. */
		if (len && run > UINT64_MAX - gpa)
			return -EFAULT;
		gpa += run;
	}
	return 0;
}

int gmem_write(const struct gmem *m, uint64_t gpa, const void *src, size_t len)
{
	const uint8_t *from = src;

	while (len) {
		uint64_t run = len;
		uint8_t *to = run_at(m, gpa, &run, true);

		if (!to)
			return -EFAULT;
		memcpy(to, from, run);
		from += run;
		len -= run;
		if (len && run > UINT64_MAX - gpa)
			return -EFAULT;
		gpa += run;
	}
	return 0;
}

int gmem_iov(const struct gmem *m, uint64_t gpa, uint64_t len, bool writable, struct iovec *iov,
	     unsigned cap, unsigned *cnt)
{
	unsigned n = *cnt;

	while (len) {
		uint64_t run = len;
		uint8_t *host = run_at(m, gpa, &run, writable);

		if (!host)
			return -EFAULT;
		if (n && (uint8_t *)iov[n - 1].iov_base + iov[n - 1].iov_len == host) {
			iov[n - 1].iov_len += run;
		} else {
			if (n >= cap)
				return -E2BIG;
			iov[n++] = (struct iovec){.iov_base = host, .iov_len = run};
		}
		len -= run;
		if (len && run > UINT64_MAX - gpa)
			return -EFAULT;
		gpa += run;
	}
	*cnt = n;
	return 0;
}

void *gmem_map(const struct gmem *m, uint64_t gpa, uint64_t len, uint64_t align, bool writable)
{
	uint64_t run = len;
	uint8_t *host;

	if (len == 0 || (gpa & (align - 1)))
		return NULL;
	host = run_at(m, gpa, &run, writable);
	if (!host || run < len || ((uintptr_t)host & (align - 1)))
		return NULL;
	return host;
}

size_t iov_len(const struct iovec *iov, unsigned cnt)
{
	size_t sum = 0;

	for (unsigned i = 0; i < cnt; i++)
		sum += iov[i].iov_len;
	return sum;
}

/* The entry that holds byte *@off of the vector; *@off becomes the offset inside it. */
static unsigned seek(const struct iovec *iov, unsigned cnt, size_t *off)
{
	unsigned i = 0;

	while (i < cnt && *off >= iov[i].iov_len)
		*off -= iov[i++].iov_len;
	return i;
}

size_t iov_read(const struct iovec *iov, unsigned cnt, size_t off, void *dst, size_t len)
{
	size_t done = 0;

	for (unsigned i = seek(iov, cnt, &off); i < cnt && done < len; i++, off = 0) {
		size_t n = MIN(iov[i].iov_len - off, len - done);

		memcpy((uint8_t *)dst + done, (const uint8_t *)iov[i].iov_base + off, n);
		done += n;
	}
	return done;
}

size_t iov_write(const struct iovec *iov, unsigned cnt, size_t off, const void *src, size_t len)
{
	size_t done = 0;

	for (unsigned i = seek(iov, cnt, &off); i < cnt && done < len; i++, off = 0) {
		size_t n = MIN(iov[i].iov_len - off, len - done);

		memcpy((uint8_t *)iov[i].iov_base + off, (const uint8_t *)src + done, n);
		done += n;
	}
	return done;
}

unsigned iov_slice(const struct iovec *src, unsigned cnt, size_t off, size_t len, struct iovec *dst,
		   unsigned cap, size_t *ret_len)
{
	size_t done = 0;
	unsigned n = 0;

	for (unsigned i = seek(src, cnt, &off); i < cnt && done < len && n < cap; i++, off = 0) {
		size_t part = MIN(src[i].iov_len - off, len - done);

		if (!part)
			continue;
		dst[n++] =
		    (struct iovec){.iov_base = (uint8_t *)src[i].iov_base + off, .iov_len = part};
		done += part;
	}
	*ret_len = done;
	return n;
}
