/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root file system of `vmm run --pmem FILE,root[=pN]`: which device it becomes in the guest, and what the
 * kernel has to be told to mount it with DAX. See run_dev.h.
 *
 * The image is the user's, but a guest may have written it: tables are read with bounds, and what is found
 * decides about words of the command line only.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/endian.h"
#include "base/fd.h"
#include "vmm/run_dev.h"

#define SECTOR	       512u
#define PAGE	       4096u
#define MBR_ENTRIES    446u
#define MBR_GPT	       0xeeu
#define GPT_HEADER_LEN 92u
#define GPT_ENTRY_MIN  128u /* UEFI 2.10, 5.3.3 */

static int read_at(int fd, void *buf, size_t len, uint64_t off)
{
	ssize_t n = off > INT64_MAX - len ? -EINVAL : fd_pread_full(fd, buf, len, (off_t)off);

	return n < 0 ? (int)n : (size_t)n < len ? -ENODATA : 0;
}

static uint32_t le32_at(const uint8_t *p)
{
	le32_t v;

	memcpy(&v, p, sizeof(v));
	return le32_get(v);
}

static uint64_t le64_at(const uint8_t *p)
{
	return le32_at(p) | (uint64_t)le32_at(p + 4) << 32;
}

static int gpt_find(int fd, unsigned nth, uint64_t *start, uint64_t *sectors)
{
	uint8_t h[GPT_HEADER_LEN], part[GPT_ENTRY_MIN];
	static const uint8_t none[16];
	uint64_t at, last;
	uint32_t cnt, each;
	int rc = read_at(fd, h, sizeof(h), SECTOR);

	if (rc < 0)
		return rc;
	at = le64_at(h + 72);
	cnt = le32_at(h + 80);
	each = le32_at(h + 84);
	if (memcmp(h, "EFI PART", 8) != 0 || nth > cnt || each < GPT_ENTRY_MIN || each > PAGE ||
	    at > INT64_MAX / SECTOR - nth * (uint64_t)each)
		return -ENOENT;
	rc = read_at(fd, part, sizeof(part), at * SECTOR + (nth - 1) * (uint64_t)each);
	if (rc < 0)
		return rc;
	*start = le64_at(part + 32);
	last = le64_at(part + 40);
	if (!memcmp(part, none, sizeof(none)) || last < *start || last > INT64_MAX / SECTOR)
		return -ENOENT;
	*sectors = last - *start + 1;
	return 0;
}

int run_partition(int fd, unsigned nth, uint64_t *ret_off, uint64_t *ret_len)
{
	uint64_t start, sectors;
	const uint8_t *part;
	uint8_t mbr[SECTOR];
	int rc = read_at(fd, mbr, sizeof(mbr), 0);

	if (rc < 0)
		return rc;
	if (mbr[510] != 0x55 || mbr[511] != 0xaa || nth == 0)
		return -ENOENT;
	if (mbr[MBR_ENTRIES + 4] == MBR_GPT) {
		rc = gpt_find(fd, nth, &start, &sectors);
		if (rc < 0)
			return rc;
	} else if (nth <= 4) { /* those in extended ones are not looked for */
		part = mbr + MBR_ENTRIES + 16ul * (nth - 1);
		start = le32_at(part + 8);
		sectors = le32_at(part + 12);
		if (!part[4] || !start || !sectors)
			return -ENOENT;
	} else {
		return -ENOENT;
	}
	*ret_off = start * SECTOR;
	*ret_len = sectors * SECTOR;
	return 0;
}

/* By its magic number; "" when unknown. */
static const char *words_of(int fd, uint64_t off)
{
	uint8_t b[2048];

	if (read_at(fd, b, sizeof(b), off) < 0)
		return "";
	if (le32_at(b + 1024) == 0xe0f5e1e2u)
		return " rootfstype=erofs rootflags=dax=always";
	if (b[1080] == 0x53 && b[1081] == 0xef)
		return " rootfstype=ext4 rootflags=dax=always";
	return "";
}

static int find_partition(int fd, const struct run_pmem *p, uint64_t *off, struct err *e)
{
	uint64_t len;
	int rc = run_partition(fd, p->part, off, &len);

	if (rc == -ENOENT || rc == -ENODATA)
		return err_set(e, -ENOENT, "pmem '%s': there is no partition %u in it", p->path,
			       p->part);
	if (rc < 0)
		return err_sys(e, rc, "pmem '%s'", p->path);
	if (*off % PAGE || len % PAGE)
		return err_set(e, -EINVAL,
			       "pmem '%s': partition %u does not start and end with a page of 4096 "
			       "bytes, so it cannot be mounted with DAX",
			       p->path, p->part);
	return 0;
}

int run_root(const struct run_config *cfg, char *buf, size_t len, struct err *e)
{
	const struct run_pmem *p = NULL;
	unsigned nth = 0, k = 0;
	char part[16] = "";
	auto_fd fd = -1;
	uint64_t off = 0;
	int rc = 0;

	buf[0] = 0;
	while (k < cfg->pmem_cnt && !cfg->pmem[k].root)
		k++;
	if (k == cfg->pmem_cnt)
		return 0;
	p = &cfg->pmem[k];
	fd = run_open("pmem", p->path, O_RDONLY, e);
	if (fd < 0)
		return fd;
	if (p->part) {
		rc = find_partition(fd, p, &off, e);
		(void)snprintf(part, sizeof(part), "p%u", p->part);
	}
	if (rc < 0)
		return rc;
	/* Read-only windows are found first, in their order; then writable ones. */
	for (unsigned i = 0; i < cfg->pmem_cnt; i++)
		nth += cfg->pmem[i].readonly == p->readonly ? i < k : cfg->pmem[i].readonly;
	(void)snprintf(buf, len, " root=/dev/pmem%u%s %s%s", nth, part, p->readonly ? "ro" : "rw",
		       words_of(fd, off));
	return 0;
}
