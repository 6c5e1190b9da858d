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
#include <sys/mman.h>

#define HOST_PAGE 4096u

/* May a region be there? @but is not in its way. */
static int check_place(const struct gmem *m, const struct gmem_region *but, uint64_t gpa,
		       uint64_t len)
{
	if (len == 0 || len - 1 > UINT64_MAX - gpa)
		return -EINVAL;
	for (unsigned i = 0; i < m->cnt; i++) {
		const struct gmem_region *r = &m->r[i];

		/* Whichever starts first must end before the other one starts. */
		if (r != but && (gpa >= r->gpa ? gpa - r->gpa < r->len : r->gpa - gpa < len))
			return -EINVAL;
	}
	return 0;
}

int gmem_add(struct gmem *m, uint64_t gpa, uint64_t len, void *host, bool readonly)
{
	int rc = host ? check_place(m, NULL, gpa, len) : -EINVAL;

	if (rc < 0)
		return rc;
	if (m->cnt == GMEM_REGIONS_MAX)
		return -ENOSPC;
	m->r[m->cnt] =
	    (struct gmem_region){.gpa = gpa, .len = len, .host = host, .readonly = readonly};
	/* A reader on another thread sees the entry whole or not at all. */
	__atomic_store_n(&m->cnt, m->cnt + 1, __ATOMIC_RELEASE);
	return 0;
}

int gmem_add_ram(struct gmem *m, uint64_t gpa, uint64_t len, void *host)
{
	int rc = gmem_add(m, gpa, len, host, false);

	if (rc == 0)
		m->r[m->cnt - 1].ram = true;
	return rc;
}

int gmem_grow(struct gmem *m, uint64_t gpa, uint64_t len)
{
	for (unsigned i = 0; i < m->cnt; i++) {
		struct gmem_region *r = &m->r[i];
		int rc;

		if (r->gpa != gpa || !r->ram)
			continue;
		rc = len < r->len ? -EINVAL : check_place(m, r, gpa, len);
		if (rc == 0)
			r->len = len;
		return rc;
	}
	return -ENOENT;
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

/* ---- giving back --------------------------------------------------------------------------------
 */

/* The region whose memory @host is in, *@len trimmed to it; NULL when it is not RAM. */
static const struct gmem_region *ram_of(const struct gmem *m, const uint8_t *host, uint64_t *len)
{
	for (unsigned i = 0; i < m->cnt; i++) {
		const struct gmem_region *r = &m->r[i];
		uint64_t off = (uint64_t)((uintptr_t)host - (uintptr_t)r->host);

		if (off >= r->len)
			continue;
		*len = MIN(*len, r->len - off);
		return r->ram ? r : NULL;
	}
	return NULL;
}

/* One span may be made of several regions, adjacent on the host. */
static bool all_ram(const struct gmem *m, const struct iovec *span)
{
	uint64_t run;

	for (uint64_t at = 0; at < span->iov_len; at += run) {
		run = span->iov_len - at;
		if (!ram_of(m, (uint8_t *)span->iov_base + at, &run))
			return false;
	}
	return true;
}

int gmem_discard_span(const struct gmem *m, const struct iovec *span)
{
	uint8_t *host = span->iov_base;
	size_t from = ALIGN_UP((uintptr_t)host, HOST_PAGE) - (uintptr_t)host;

	if (!all_ram(m, span))
		return -EFAULT;
	if (span->iov_len <= from || span->iov_len - from < HOST_PAGE)
		return 0;
	return madvise(host + from, ALIGN_DOWN(span->iov_len - from, HOST_PAGE), MADV_DONTNEED) < 0
		   ? -errno
		   : 0;
}

int gmem_discard(const struct gmem *m, uint64_t gpa, uint64_t len)
{
	struct iovec span[GMEM_REGIONS_MAX];
	unsigned cnt = 0;
	int rc = gmem_iov(m, gpa, len, true, span, ARRAY_LEN(span), &cnt);

	for (unsigned i = 0; rc == 0 && i < cnt; i++)
		rc = all_ram(m, &span[i]) ? 0 : -EFAULT;
	for (unsigned i = 0; rc == 0 && i < cnt; i++)
		rc = gmem_discard_span(m, &span[i]);
	return rc;
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
