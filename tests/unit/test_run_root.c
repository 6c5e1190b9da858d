/* SPDX-License-Identifier: Apache-2.0 */
/* run_root.c: partition tables that are good, cut off and wrong; the words for the kernel. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/run_dev.h"

static int fd = -1;
static uint8_t img[64 << 10];
static uint64_t off, len;

static void put32(size_t at, uint32_t v)
{
	for (unsigned i = 0; i < 4; i++)
		img[at + i] = (uint8_t)(v >> (8 * i));
}

static void write_img(size_t n)
{
	if (fd < 0)
		fd = memfd_create("image", 0);
	cr_assert_eq(ftruncate(fd, 0), 0);
	cr_assert_eq(pwrite(fd, img, n, 0), (ssize_t)n);
}

static void mbr(unsigned nth, uint8_t type, uint32_t start, uint32_t sectors)
{
	size_t at = 446 + 16 * (nth - 1);

	img[510] = 0x55;
	img[511] = 0xaa;
	img[at + 4] = type;
	put32(at + 8, start);
	put32(at + 12, sectors);
}

static void gpt(uint32_t cnt, uint32_t each)
{
	mbr(1, 0xee, 1, 100);
	memcpy(img + 512, "EFI PART", 8);
	put32(512 + 72, 2);
	put32(512 + 80, cnt);
	put32(512 + 84, each);
}

static void gpt_entry(unsigned nth, uint32_t first, uint32_t last)
{
	size_t at = 1024 + 128 * (nth - 1);

	img[at] = 1;
	put32(at + 32, first);
	put32(at + 40, last);
}

Test(run_root, mbr)
{
	mbr(1, 0x83, 8, 16);
	mbr(3, 0x83, 40, 8);
	write_img(sizeof(img));
	cr_assert_eq(run_partition(fd, 1, &off, &len), 0);
	cr_assert_eq(off, 4096);
	cr_assert_eq(len, 8192);
	cr_assert_eq(run_partition(fd, 3, &off, &len), 0);
	cr_assert_eq(off, 20480);
	cr_assert_eq(run_partition(fd, 0, &off, &len), -ENOENT);
	cr_assert_eq(run_partition(fd, 2, &off, &len), -ENOENT);
	cr_assert_eq(run_partition(fd, 5, &off, &len), -ENOENT);
	img[511] = 0;
	write_img(sizeof(img));
	cr_assert_eq(run_partition(fd, 1, &off, &len), -ENOENT);
	write_img(100);
	cr_assert_eq(run_partition(fd, 1, &off, &len), -ENODATA);
}

Test(run_root, gpt)
{
	gpt(4, 128);
	gpt_entry(1, 8, 15);
	gpt_entry(4, 24, 24);
	write_img(sizeof(img));
	cr_assert_eq(run_partition(fd, 1, &off, &len), 0);
	cr_assert_eq(off, 4096);
	cr_assert_eq(len, 4096);
	cr_assert_eq(run_partition(fd, 4, &off, &len), 0);
	cr_assert_eq(len, 512);
	cr_assert_eq(run_partition(fd, 2, &off, &len), -ENOENT, "not in use");
	cr_assert_eq(run_partition(fd, 5, &off, &len), -ENOENT, "beyond the table");
}

Test(run_root, tables_that_lie)
{
	gpt(UINT32_MAX, 128);
	write_img(sizeof(img));
	cr_assert_eq(run_partition(fd, 100000, &off, &len), -ENODATA, "beyond the file");
	gpt(4, 64);
	write_img(sizeof(img));
	cr_assert_eq(run_partition(fd, 1, &off, &len), -ENOENT, "short entries");
	gpt(4, 1u << 31);
	write_img(sizeof(img));
	cr_assert_eq(run_partition(fd, 2, &off, &len), -ENOENT, "long entries");
	gpt(4, 128);
	put32(512 + 76, UINT32_MAX);
	write_img(sizeof(img));
	cr_assert_eq(run_partition(fd, 1, &off, &len), -ENOENT, "a table beyond all files");
	put32(512 + 76, 0);
	gpt_entry(1, 9, 8);
	write_img(sizeof(img));
	cr_assert_eq(run_partition(fd, 1, &off, &len), -ENOENT, "ends before it starts");
	img[512] = 0;
	write_img(sizeof(img));
	cr_assert_eq(run_partition(fd, 1, &off, &len), -ENOENT);
	write_img(512);
	cr_assert_eq(run_partition(fd, 1, &off, &len), -ENODATA, "cut off");
}

Test(run_root, words)
{
	struct run_config cfg = {.pmem_cnt = 3};
	char path[64], buf[160];
	struct err e = {0};

	mbr(1, 0x83, 8, 16);
	mbr(2, 0x83, 9, 16);
	img[4096 + 1080] = 0x53;
	img[4096 + 1081] = 0xef;
	write_img(sizeof(img));
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	for (unsigned i = 0; i < 3; i++)
		cfg.pmem[i] = (struct run_pmem){.path = path, .readonly = i == 2};
	cr_assert_eq(run_root(&cfg, buf, sizeof(buf), &e), 0);
	cr_assert_str_eq(buf, "");
	cfg.pmem[1].root = true;
	cfg.pmem[1].part = 1;
	cr_assert_eq(run_root(&cfg, buf, sizeof(buf), &e), 0, "%s", e.msg);
	cr_assert_str_eq(buf, " root=/dev/pmem2p1 rw rootfstype=ext4 rootflags=dax=always");
	cfg.pmem[1].part = 2;
	cr_assert_eq(run_root(&cfg, buf, sizeof(buf), &e), -EINVAL);
	cr_assert(strstr(e.msg, "cannot be mounted with DAX"), "%s", e.msg);
	e = (struct err){0};
	cfg.pmem[1].part = 4;
	cr_assert_eq(run_root(&cfg, buf, sizeof(buf), &e), -ENOENT);
	cr_assert(strstr(e.msg, "there is no partition 4 in it"), "%s", e.msg);
	cfg.pmem[1].root = false;
	cfg.pmem[2].root = true;
	cr_assert_eq(run_root(&cfg, buf, sizeof(buf), &e), 0);
	cr_assert_str_eq(buf, " root=/dev/pmem0 ro");
}
