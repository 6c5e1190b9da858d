/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host mappings for guest memory. See mem.h.
 *
 * RAM is private anonymous memory that nobody has touched: it costs nothing until the guest uses
 * it. A memfd would be slower to fault and would be counted as shared.
 */
#include "vmm/mem.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/memmap.h"

#define HUGE_PAGE 0x200000ull

/* Address space only: @len bytes on a 2 MiB bound, with what is needed to get that bound. */
static int reserve(struct mem_map *m, uint64_t len, int prot)
{
	size_t total;
	void *p;

	if (__builtin_add_overflow(len, HUGE_PAGE, &total))
		return -EOVERFLOW;
	p = mmap(NULL, total, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	m->base = p;
	m->base_len = total;
	m->host = (uint8_t *)p + (ALIGN_UP((uintptr_t)p, HUGE_PAGE) - (uintptr_t)p);
	m->len = len;
	return 0;
}

int mem_ram(struct mem_map *m, uint64_t len)
{
	int rc;

	*m = (struct mem_map){0};
	rc = reserve(m, len, PROT_READ | PROT_WRITE);
	if (rc < 0)
		return rc;
	/* Both are advice: a host without transparent huge pages still runs guests. */
	(void)madvise(m->host, len, MADV_HUGEPAGE);
	(void)madvise(m->host, len, MADV_DONTDUMP);
	return 0;
}

int mem_file(struct mem_map *m, int fd, uint64_t file_len, bool readonly)
{
	int prot = PROT_READ | (readonly ? 0 : PROT_WRITE);
	uint64_t len;
	int rc;

	*m = (struct mem_map){0};
	if (!file_len || __builtin_add_overflow(file_len, PMEM_ALIGN - 1, &len))
		return -EINVAL;
	len = ALIGN_DOWN(len, PMEM_ALIGN);
	rc = reserve(m, len, prot);
	if (rc < 0)
		return rc;
	if (mmap(m->host, file_len, prot, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
		rc = -errno;
		mem_unmap(m);
		return rc;
	}
	(void)madvise(m->host, len, MADV_DONTDUMP);
	return 0;
}

void mem_unmap(struct mem_map *m)
{
	if (m->base)
		(void)munmap(m->base, m->base_len);
	*m = (struct mem_map){0};
}
