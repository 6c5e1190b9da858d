/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gmem.c: the map, checked copies, spans, vectors.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "virtio/gmem.h"

static uint8_t a[4096], b[4096], c[16];

/* 0x1000-0x2000 a, 0x2000-0x3000 b (not adjacent on the host), 0x3000-0x3010 c (read-only). */
static struct gmem map3(void)
{
	struct gmem m = {0};

	cr_assert_eq(gmem_add(&m, 0x1000, sizeof(a), a, false), 0);
	cr_assert_eq(gmem_add(&m, 0x2000, sizeof(b), b, false), 0);
	cr_assert_eq(gmem_add(&m, 0x3000, sizeof(c), c, true), 0);
	return m;
}

Test(gmem, add_refuses_what_does_not_fit)
{
	struct gmem m = map3();

	cr_assert_eq(gmem_add(&m, 0x5000, 0, a, false), -EINVAL);
	cr_assert_eq(gmem_add(&m, 0x5000, 16, NULL, false), -EINVAL);
	cr_assert_eq(gmem_add(&m, UINT64_MAX - 4095, 4097, a, false), -EINVAL, "wraps");
	cr_assert_eq(gmem_add(&m, UINT64_MAX - 4095, 4096, a, false), 0, "ends at the very end");
	cr_assert_eq(gmem_add(&m, 0x1000, 1, a, false), -EINVAL, "same start");
	cr_assert_eq(gmem_add(&m, 0x1fff, 1, a, false), -EINVAL, "last byte");
	cr_assert_eq(gmem_add(&m, 0xfff, 2, a, false), -EINVAL, "tail in it");
	cr_assert_eq(gmem_add(&m, 0xff0, 0x10, a, false), 0, "touches");
	cr_assert_eq(gmem_add(&m, 0x3010, 0x10, a, false), 0, "touches");
	cr_assert_eq(gmem_add(&m, 0, UINT64_MAX, a, false), -EINVAL, "around all");
}

Test(gmem, add_refuses_the_seventeenth)
{
	struct gmem m = {0};

	for (unsigned i = 0; i < GMEM_REGIONS_MAX; i++)
		cr_assert_eq(gmem_add(&m, 0x1000ull * i, 16, a, false), 0);
	cr_assert_eq(gmem_add(&m, 0x100000, 16, a, false), -ENOSPC);
	cr_assert_eq(m.cnt, GMEM_REGIONS_MAX);
}

Test(gmem, copies_cross_regions)
{
	struct gmem m = map3();
	char in[64], out[64];

	memset(in, 'x', sizeof(in));
	cr_assert_eq(gmem_write(&m, 0x2000 - 10, in, 30), 0);
	cr_assert_eq(a[4095], 'x');
	cr_assert_eq(b[19], 'x');
	cr_assert_eq(b[20], 0);
	memset(out, 0, sizeof(out));
	cr_assert_eq(gmem_read(&m, 0x2000 - 10, out, 30), 0);
	cr_assert_eq(memcmp(in, out, 30), 0);
	cr_assert_eq(gmem_read(&m, 0x7777, out, 0), 0, "nothing is always there");
}

Test(gmem, copies_refuse_holes_and_ends)
{
	struct gmem m = map3();
	uint8_t buf[8192] = {0};

	cr_assert_eq(gmem_read(&m, 0xfff, buf, 1), -EFAULT);
	cr_assert_eq(gmem_read(&m, 0xfff, buf, 2), -EFAULT);
	cr_assert_eq(gmem_read(&m, 0x300f, buf, 1), 0);
	cr_assert_eq(gmem_read(&m, 0x300f, buf, 2), -EFAULT);
	cr_assert_eq(gmem_read(&m, 0x3010, buf, 1), -EFAULT);
	cr_assert_eq(gmem_read(&m, UINT64_MAX, buf, 1), -EFAULT);
	cr_assert_eq(gmem_write(&m, 0x2fff, buf, 1), 0);
	cr_assert_eq(gmem_write(&m, 0x2fff, buf, 2), -EFAULT, "read-only behind it");
	cr_assert_eq(gmem_write(&m, 0x3000, buf, 1), -EFAULT, "read-only");
}

Test(gmem, nothing_wraps_around_the_address_space)
{
	struct gmem m = {0};
	uint8_t buf[32];
	struct iovec iov[4];
	unsigned n = 0;

	cr_assert_eq(gmem_add(&m, UINT64_MAX - 15, 16, a, false), 0);
	cr_assert_eq(gmem_add(&m, 0, 16, b, false), 0);
	cr_assert_eq(gmem_read(&m, UINT64_MAX - 15, buf, 16), 0);
	cr_assert_eq(gmem_read(&m, UINT64_MAX - 15, buf, 17), -EFAULT);
	cr_assert_eq(gmem_write(&m, UINT64_MAX - 15, buf, 17), -EFAULT);
	cr_assert_eq(gmem_iov(&m, UINT64_MAX - 15, 17, false, iov, 4, &n), -EFAULT);
	cr_assert_eq(gmem_iov(&m, UINT64_MAX - 15, 16, false, iov, 4, &n), 0);
	cr_assert_eq(n, 1);
}

Test(gmem, spans)
{
	struct gmem m = map3();
	struct iovec iov[4];
	unsigned n = 0;

	cr_assert_eq(gmem_iov(&m, 0x1ff0, 0x20, true, iov, 4, &n), 0);
	cr_assert_eq(n, 2);
	cr_assert_eq(iov[0].iov_base, a + 0xff0);
	cr_assert_eq(iov[0].iov_len, 0x10);
	cr_assert_eq(iov[1].iov_base, b);
	cr_assert_eq(iov[1].iov_len, 0x10);
	/* What follows on the host is joined to it. */
	cr_assert_eq(gmem_iov(&m, 0x2010, 0x10, true, iov, 4, &n), 0);
	cr_assert_eq(n, 2);
	cr_assert_eq(iov[1].iov_len, 0x20);
	cr_assert_eq(gmem_iov(&m, 0x1000, 1, true, iov, 4, &n), 0);
	cr_assert_eq(n, 3);
	cr_assert_eq(gmem_iov(&m, 0x1ff0, 0x20, true, iov, 4, &n), -E2BIG);
	cr_assert_eq(n, 3, "untouched on failure");
	cr_assert_eq(gmem_iov(&m, 0x3000, 8, true, iov, 4, &n), -EFAULT, "read-only");
	cr_assert_eq(gmem_iov(&m, 0x3000, 8, false, iov, 4, &n), 0);
	n = 0;
	cr_assert_eq(gmem_iov(&m, 0x3000, 17, false, iov, 4, &n), -EFAULT);
	cr_assert_eq(gmem_iov(&m, 0x3000, UINT64_MAX, false, iov, 4, &n), -EFAULT);
}

Test(gmem, map_is_one_region_aligned)
{
	static uint8_t odd[64] __attribute__((aligned(16)));
	struct gmem m = map3();

	cr_assert_eq(gmem_map(&m, 0x1010, 0xff0, 16, true), a + 0x10);
	cr_assert_null(gmem_map(&m, 0x1010, 0xff1, 16, true), "crosses into b");
	cr_assert_null(gmem_map(&m, 0x1008, 16, 16, true), "guest alignment");
	cr_assert_null(gmem_map(&m, 0x3000, 16, 1, true), "read-only");
	cr_assert_eq(gmem_map(&m, 0x3000, 16, 1, false), c);
	cr_assert_null(gmem_map(&m, 0x1000, 0, 1, false), "empty");
	cr_assert_null(gmem_map(&m, 0x3000, UINT64_MAX, 1, false));
	cr_assert_eq(gmem_add(&m, 0x8000, 32, odd + 1, false), 0);
	cr_assert_null(gmem_map(&m, 0x8000, 16, 4, false), "host alignment");
}

Test(iov, copies_at_every_offset)
{
	char parts[3][5] = {"abcd", "efgh", "ijkl"}, out[16];
	struct iovec v[4] = {{parts[0], 4}, {parts[1], 0}, {parts[1], 4}, {parts[2], 4}};

	cr_assert_eq(iov_len(v, 4), 12);
	for (size_t off = 0; off <= 13; off++) {
		for (size_t len = 0; len <= 13; len++) {
			size_t want = off >= 12 ? 0 : MIN(len, 12 - off);

			memset(out, 0, sizeof(out));
			cr_assert_eq(iov_read(v, 4, off, out, len), want);
			cr_assert_eq(memcmp(out, "abcdefghijkl" + MIN(off, 12u), want), 0);
			cr_assert_eq(out[want], 0);
		}
	}
	cr_assert_eq(iov_write(v, 4, 3, "0123456", 7), 7);
	cr_assert_str_eq(parts[0], "abc0");
	cr_assert_str_eq(parts[1], "1234");
	cr_assert_str_eq(parts[2], "56kl");
	cr_assert_eq(iov_write(v, 4, 10, "xyz", 3), 2);
	cr_assert_str_eq(parts[2], "56xy");
}

Test(iov, slices)
{
	char p[12];
	struct iovec v[3] = {{p, 4}, {p + 4, 4}, {p + 8, 4}}, d[3];
	size_t got;

	cr_assert_eq(iov_slice(v, 3, 2, 7, d, 3, &got), 3);
	cr_assert_eq(got, 7);
	cr_assert_eq(d[0].iov_base, p + 2);
	cr_assert_eq(d[2].iov_len, 1);
	cr_assert_eq(iov_slice(v, 3, 2, 100, d, 3, &got), 3);
	cr_assert_eq(got, 10);
	cr_assert_eq(iov_slice(v, 3, 2, 100, d, 2, &got), 2);
	cr_assert_eq(got, 6, "the array was too small");
	cr_assert_eq(iov_slice(v, 3, 12, 1, d, 3, &got), 0);
	cr_assert_eq(got, 0);
}

/* ---- memory that goes back and comes ------------------------------------------------------------ */
static uint8_t *fresh_pages(size_t len)
{
	uint8_t *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	cr_assert(p != MAP_FAILED);
	memset(p, 'x', len);
	return p;
}

Test(gmem, discards_whole_pages_of_ram)
{
	uint8_t *p = fresh_pages(8 * 4096);
	struct gmem m = {0};

	/* Two regions, adjacent in both worlds. */
	cr_assert_eq(gmem_add_ram(&m, 0x10000, 4 * 4096, p), 0);
	cr_assert_eq(gmem_add_ram(&m, 0x14000, 4 * 4096, p + 4 * 4096), 0);
	cr_assert_eq(gmem_discard(&m, 0x10001, 3 * 4096), 0);
	cr_assert_eq(p[0], 'x');
	cr_assert_eq(p[4096], 0);
	cr_assert_eq(p[3 * 4096 - 1], 0);
	cr_assert_eq(p[3 * 4096], 'x', "only its first byte was in the range");
	cr_assert_eq(gmem_discard(&m, 0x13000, 2 * 4096), 0);
	cr_assert_eq(p[4 * 4096], 0);
	cr_assert_eq(p[5 * 4096], 'x');
	cr_assert_eq(gmem_discard(&m, 0x15001, 4094), 0, "not a whole page");
	cr_assert_eq(p[5 * 4096 + 1], 'x');
	cr_assert_eq(gmem_discard(&m, 0x15000, 0), 0);
	(void)munmap(p, 8 * 4096);
}

Test(gmem, discards_nothing_but_ram)
{
	uint8_t *p = fresh_pages(8 * 4096);
	struct gmem m = {0};
	struct iovec span = {p + 3 * 4096, 2 * 4096};

	cr_assert_eq(gmem_add_ram(&m, 0x10000, 4 * 4096, p), 0);
	cr_assert_eq(gmem_add(&m, 0x14000, 2 * 4096, p + 4 * 4096, false), 0); /* written back */
	cr_assert_eq(gmem_discard(&m, 0x13000, 2 * 4096), -EFAULT);
	cr_assert_eq(gmem_discard_span(&m, &span), -EFAULT);
	cr_assert_eq(gmem_discard(&m, 0x14000, 4096), -EFAULT);
	cr_assert_eq(gmem_discard(&m, 0x0, 4096), -EFAULT);
	cr_assert_eq(gmem_discard(&m, 0x10000, UINT64_MAX), -EFAULT);
	span = (struct iovec){p + 6 * 4096, 4096}; /* the host's own memory */
	cr_assert_eq(gmem_discard_span(&m, &span), -EFAULT);
	for (unsigned i = 0; i < 8 * 4096; i++)
		cr_assert_eq(p[i], 'x');
	(void)munmap(p, 8 * 4096);
}

Test(gmem, ram_grows)
{
	struct gmem m = {0};
	uint8_t byte;

	cr_assert_eq(gmem_add_ram(&m, 0x1000, 16, a), 0);
	cr_assert_eq(gmem_add(&m, 0x1100, 16, b, false), 0);
	cr_assert_eq(gmem_read(&m, 0x1010, &byte, 1), -EFAULT);
	cr_assert_eq(gmem_grow(&m, 0x1000, 17), 0);
	cr_assert_eq(gmem_read(&m, 0x1010, &byte, 1), 0);
	cr_assert_eq(gmem_grow(&m, 0x1000, 16), -EINVAL, "never less");
	cr_assert_eq(gmem_grow(&m, 0x1000, 0x101), -EINVAL, "into the next");
	cr_assert_eq(gmem_grow(&m, 0x1000, 0x100), 0);
	cr_assert_eq(gmem_grow(&m, 0x1000, UINT64_MAX), -EINVAL);
	cr_assert_eq(gmem_grow(&m, 0x1100, 32), -ENOENT, "no RAM");
	cr_assert_eq(gmem_grow(&m, 0x1001, 32), -ENOENT);
}
