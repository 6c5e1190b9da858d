/* SPDX-License-Identifier: Apache-2.0 */
/* See savefile.h. */
#include "vmm/savefile.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/endian.h"
#include "base/fd.h"

#define VERSION 1u
#define PAGE	4096u
#define RUN_MAX (1u << 20) /* bytes of one write */

static const char magic[16] = "husk machine\r\n\x1a"; /* a copy as text would show */

struct head_wire {
	char magic[16];
	le32_t version, sections;
	le64_t records_len, ram_off, zero[3];
};
_Static_assert(sizeof(struct head_wire) == 64, "no padding");

struct section_wire {
	le64_t gpa, len;
};

static uint64_t section_off(const struct savefile *f, unsigned i)
{
	uint64_t off = f->ram_off;

	for (unsigned k = 0; k < i; k++)
		off += f->section[k].len;
	return off;
}

static int read_all(int fd, void *p, size_t len, uint64_t off)
{
	ssize_t n = fd_pread_full(fd, p, len, (off_t)off);

	return n < 0 ? (int)n : (size_t)n < len ? -ENODATA : 0;
}

/* ---- writing ------------------------------------------------------------------------------------- */

int savefile_write_head(int fd, struct savefile *f)
{
	struct head_wire h = {.version = le32_of(VERSION),
			      .sections = le32_of(f->section_cnt),
			      .records_len = le64_of(f->records.len)};
	struct section_wire w[SAVEFILE_SECTIONS_MAX];
	size_t table = f->section_cnt * sizeof(w[0]);
	int rc;

	memcpy(h.magic, magic, sizeof(magic));
	f->ram_off = ALIGN_UP(sizeof(h) + table + f->records.len, (uint64_t)PAGE);
	h.ram_off = le64_of(f->ram_off);
	for (unsigned i = 0; i < f->section_cnt; i++)
		w[i] =
		    (struct section_wire){le64_of(f->section[i].gpa), le64_of(f->section[i].len)};
	rc = ftruncate(fd, (off_t)section_off(f, f->section_cnt)) < 0 ? -errno : 0;
	if (rc == 0)
		rc = fd_pwrite_full(fd, &h, sizeof(h), 0);
	if (rc == 0)
		rc = fd_pwrite_full(fd, w, table, sizeof(h));
	return rc ? rc
		  : fd_pwrite_full(fd, f->records.data, f->records.len, (off_t)(sizeof(h) + table));
}

static bool is_zero(const uint8_t *page)
{
	return page[0] == 0 && memcmp(page, page + 1, PAGE - 1) == 0;
}

int savefile_write_section(int fd, const struct savefile *f, unsigned i, const void *host)
{
	uint64_t to = section_off(f, i), len = f->section[i].len, at = 0;
	const uint8_t *p = host;
	int rc = 0;

	while (rc == 0 && at < len) {
		uint64_t end = at;

		while (end < len && end - at < RUN_MAX && !is_zero(p + end))
			end += PAGE;
		if (end > at)
			rc = fd_pwrite_full(fd, p + at, end - at, (off_t)(to + at));
		at = end > at ? end : at + PAGE;
	}
	return rc;
}

/* ---- reading ------------------------------------------------------------------------------------- */

static int damaged(const char *name, struct err *e)
{
	return err_set(e, -EPROTO, "'%s': this saved machine is cut off or damaged", name);
}

static int read_sections(int fd, const char *name, struct savefile *f, struct err *e)
{
	struct section_wire w[SAVEFILE_SECTIONS_MAX];
	int rc = read_all(fd, w, f->section_cnt * sizeof(w[0]), sizeof(struct head_wire));

	if (rc < 0)
		return rc == -ENODATA ? damaged(name, e) : err_sys(e, rc, "'%s'", name);
	for (unsigned i = 0; i < f->section_cnt; i++) {
		struct savefile_section *s = &f->section[i];
		uint64_t end;

		*s = (struct savefile_section){le64_get(w[i].gpa), le64_get(w[i].len)};
		if (!s->len || s->len % PAGE || __builtin_add_overflow(s->gpa, s->len, &end))
			return damaged(name, e);
	}
	return 0;
}

/* Does the file end where the sections do? */
static int check_length(int fd, const char *name, const struct savefile *f, struct err *e)
{
	uint64_t end = f->ram_off;
	struct stat st;

	for (unsigned i = 0; i < f->section_cnt; i++)
		if (__builtin_add_overflow(end, f->section[i].len, &end))
			return damaged(name, e);
	if (fstat(fd, &st) < 0)
		return err_sys(e, -errno, "'%s'", name);
	return st.st_size < 0 || (uint64_t)st.st_size != end ? damaged(name, e) : 0;
}

static int read_records(int fd, const char *name, struct savefile *f, uint64_t len, struct err *e)
{
	uint64_t at = sizeof(struct head_wire) + f->section_cnt * sizeof(struct section_wire);
	void *to;
	int rc;

	if (len > SAVEFILE_RECORDS_MAX || f->ram_off != ALIGN_UP(at + len, (uint64_t)PAGE))
		return damaged(name, e);
	rc = check_length(fd, name, f, e);
	if (rc < 0)
		return rc;
	if (!len) /* a machine without anything: for others to judge */
		return 0;
	to = buf_extend(&f->records, len);
	if (!to)
		return err_set(e, -ENOMEM, "'%s': out of memory", name);
	rc = read_all(fd, to, len, at);
	return rc == -ENODATA ? damaged(name, e) : rc < 0 ? err_sys(e, rc, "'%s'", name) : 0;
}

int savefile_read_head(int fd, const char *name, struct savefile *f, struct err *e)
{
	struct head_wire h;
	int rc = read_all(fd, &h, sizeof(h), 0);

	*f = (struct savefile){0};
	if (rc < 0 && rc != -ENODATA)
		return err_sys(e, rc, "'%s'", name);
	if (rc < 0 || memcmp(h.magic, magic, sizeof(magic)) != 0)
		return err_set(e, -EINVAL, "'%s': not a saved machine", name);
	if (le32_get(h.version) != VERSION)
		return err_set(e, -EOPNOTSUPP, "'%s': a saved machine of version %u; this is %u",
			       name, le32_get(h.version), VERSION);
	f->section_cnt = le32_get(h.sections);
	f->ram_off = le64_get(h.ram_off);
	if (!f->section_cnt || f->section_cnt > SAVEFILE_SECTIONS_MAX)
		return damaged(name, e);
	rc = read_sections(fd, name, f, e);
	if (rc == 0)
		rc = read_records(fd, name, f, le64_get(h.records_len), e);
	if (rc < 0)
		savefile_free(f);
	return rc;
}

int savefile_read_section(int fd, const struct savefile *f, unsigned i, void *host)
{
	uint64_t from = section_off(f, i), end = from + f->section[i].len, at = from;
	int rc = 0;

	while (rc == 0 && at < end) {
		off_t data = lseek(fd, (off_t)at, SEEK_DATA), hole;

		/* ENXIO: no data up to the file's end. What cannot tell has data everywhere. */
		if (data < 0 && errno == ENXIO)
			return lseek(fd, 0, SEEK_END) < (off_t)end ? -ENODATA : 0;
		if (data < 0)
			return -errno;
		if ((uint64_t)data >= end)
			return 0;
		hole = lseek(fd, data, SEEK_HOLE);
		if (hole < 0)
			return -errno;
		at = MIN((uint64_t)hole, end);
		rc = read_all(fd, (uint8_t *)host + ((uint64_t)data - from), at - (uint64_t)data,
			      (uint64_t)data);
	}
	return rc;
}

void savefile_free(struct savefile *f)
{
	buf_free(&f->records);
}
