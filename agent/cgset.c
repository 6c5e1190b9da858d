/* SPDX-License-Identifier: Apache-2.0 */
/* Changing limits of a cgroup that is in use. See cgrp_apply() in child.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "agent/child.h"
#include "base/fd.h"

#define OLD_MAX 65536u

struct change {
	const struct spec_write *w;
	char *old;
	bool done;
};

static int write_line(int dir, const char *file, const char *text, size_t len)
{
	auto_fd fd = openat(dir, file, O_WRONLY | O_CLOEXEC);

	return fd < 0 ? -errno : fd_write_full(fd, text, len);
}

/* As it was: a file of several lines takes them one by one. */
static void put_back(int dir, const struct change *c)
{
	for (const char *p = c->old; *p;) {
		size_t n = strcspn(p, "\n");

		(void)!write_line(dir, c->w->file, p, n);
		p += n + (p[n] == '\n');
	}
}

/*
 * Some limits bound each other (cpu.max.burst by cpu.max, cpu.weight by cpu.idle), and which goes
 * first depends on the old ones: what is refused as invalid has a second turn after the others.
 */
static int write_all(int dir, struct change *c, size_t cnt, struct err *e)
{
	for (int turn = 0; turn < 2; turn++) {
		for (size_t i = 0; i < cnt; i++) {
			const struct spec_write *w = c[i].w;
			int rc =
			    c[i].done ? 0 : write_line(dir, w->file, w->value, strlen(w->value));

			if (rc == -EINVAL && turn == 0)
				continue;
			if (rc < 0)
				return err_sys(e, rc, "resources: %s: '%.200s'", w->file, w->value);
			c[i].done = true;
		}
	}
	return 0;
}

int cgrp_apply(int dir, const struct spec_writes *w, struct err *e)
{
	auto_free struct change *c = calloc(w->cnt + 1, sizeof(*c));
	size_t cnt = 0;
	int rc = c ? 0 : err_set(e, -ENOMEM, "out of memory");

	for (size_t i = 0; rc == 0 && i < w->cnt; i++) {
		c[cnt].w = &w->v[i];
		rc = fd_read_file(dir, w->v[i].file, OLD_MAX, &c[cnt].old, NULL);
		if (rc == 0)
			cnt++;
		else if (rc == -ENOENT && strcmp(w->v[i].file, "memory.swap.max") == 0)
			rc = 0; /* without swap there is nothing to limit */
		else
			err_sys(e, rc, "resources: %s", w->v[i].file);
	}
	if (rc == 0)
		rc = write_all(dir, c, cnt, e);
	for (size_t i = cnt; i-- > 0;) {
		if (rc < 0 && c[i].done)
			put_back(dir, &c[i]);
		free(c[i].old);
	}
	return rc;
}
