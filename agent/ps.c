/* SPDX-License-Identifier: Apache-2.0 */
/* See ps.h. Reading /proc of a hostile process may take for ever, which is why this runs in a
 * child. */
#include "agent/ps.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <time.h>

#include "agent/child.h"
#include "base/fd.h"

#define CMDLINE_MAX (64u << 10)

struct entry {
	pid_t pid, ppid; /* the agent's */
	pid_t inner;	 /* in the innermost pid name space */
	unsigned uid, gid;
	char comm[64];
	char state, tty[16];
	int64_t start;	  /* seconds since 1970, of the guest's clock */
	uint64_t time_ms; /* of CPU */
	uint64_t vsz_kb, rss_kb;
	int nice;
	unsigned threads;
};

static const char *field(const char *status, const char *name)
{
	const char *p = status;
	size_t len = strlen(name);

	while (p && strncmp(p, name, len) != 0) {
		p = strchr(p, '\n');
		p = p ? p + 1 : NULL;
	}
	return p ? p + len : NULL;
}

/* Bytes that are not ASCII may be no UTF-8, and then cannot be JSON. */
static void printable(char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] >= 0x80)
			text[i] = '?';
}

/* Linux's numbers of terminals: Documentation/admin-guide/devices.txt. */
static void tty_name(unsigned nr, char *out, size_t cap)
{
	unsigned major = nr >> 8 & 0xfff, minor = (nr & 0xff) | (nr >> 12 & 0xfff00);

	if (major >= 136 && major <= 143)
		(void)snprintf(out, cap, "pts/%u", (major - 136) * 256 + minor);
	else
		(void)snprintf(out, cap, "%s", major == 4 || major == 5 ? "tty" : "?");
}

/* When the machine started, in seconds since 1970. */
static double boot_time(void)
{
	struct timespec real, up;

	(void)clock_gettime(CLOCK_REALTIME, &real);
	(void)clock_gettime(CLOCK_BOOTTIME, &up);
	return (double)(real.tv_sec - up.tv_sec) + (double)(real.tv_nsec - up.tv_nsec) / 1e9;
}

/* proc(5), /proc/PID/stat, from its third field on. */
int ps_parse_stat(const char *text, struct ps_stat *st)
{
	const char *p = strrchr(text, ')'); /* the name before it may have anything in it */
	uint64_t field[25];		    /* by their numbers there */

	if (!p || p[1] != ' ' || !p[2])
		return -EINVAL;
	st->state = p[2];
	p += 3;
	for (unsigned i = 4; i < ARRAY_LEN(field); i++) { /* sscanf() would be 37 KB of the agent */
		char *end;

		field[i] = strtoull(p, &end, 10);
		if (end == p)
			return -EINVAL;
		p = end;
	}
	st->tty = (unsigned)field[7];
	st->utime = field[14];
	st->stime = field[15];
	st->nice = (int)field[19];
	st->threads = (unsigned)field[20];
	st->start = field[22];
	st->vsize = field[23];
	st->rss = field[24];
	return 0;
}

static void stat_read(pid_t pid, struct entry *en)
{
	uint64_t hz = (uint64_t)sysconf(_SC_CLK_TCK), page = (uint64_t)sysconf(_SC_PAGESIZE);
	auto_free char *text = NULL;
	struct ps_stat st;
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (fd_read_file(AT_FDCWD, path, 65536, &text, NULL) < 0 || ps_parse_stat(text, &st) < 0)
		return;
	en->state = st.state;
	tty_name(st.tty, en->tty, sizeof(en->tty));
	en->start = (int64_t)(boot_time() + (double)st.start / (double)hz);
	en->time_ms = (st.utime + st.stime) * 1000 / hz;
	en->vsz_kb = st.vsize / 1024;
	en->rss_kb = st.rss * page / 1024;
	en->nice = st.nice;
	en->threads = st.threads;
}

static int entry_read(pid_t pid, struct entry *en)
{
	auto_free char *text = NULL;
	const char *v;
	char path[64];
	size_t n;
	int rc;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	rc = fd_read_file(AT_FDCWD, path, 65536, &text, NULL);
	if (rc < 0)
		return rc;
	memset(en, 0, sizeof(*en));
	en->pid = en->inner = pid;
	en->state = '?';
	en->tty[0] = '?';
	v = field(text, "PPid:");
	en->ppid = v ? (pid_t)strtol(v, NULL, 10) : 0;
	v = field(text, "Uid:");
	en->uid = v ? (unsigned)strtoul(v, NULL, 10) : 0;
	v = field(text, "Gid:");
	en->gid = v ? (unsigned)strtoul(v, NULL, 10) : 0;
	v = field(text, "NSpid:");
	if (v) {
		n = strcspn(v, "\n");
		while (n && v[n - 1] != '\t')
			n--;
		en->inner = (pid_t)strtol(v + n, NULL, 10);
	}
	v = field(text, "Name:\t");
	if (v)
		(void)snprintf(en->comm, sizeof(en->comm), "%.*s", (int)strcspn(v, "\n"), v);
	printable(en->comm, strlen(en->comm));
	stat_read(pid, en);
	return 0;
}

/* Arguments with spaces between them. */
static struct json_object *cmdline(pid_t pid)
{
	auto_free char *text = NULL;
	char path[64];
	size_t len = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	if (fd_read_file(AT_FDCWD, path, CMDLINE_MAX, &text, &len) < 0)
		return json_object_new_string("");
	while (len && !text[len - 1])
		len--;
	for (size_t i = 0; i < len; i++)
		if (!text[i])
			text[i] = ' ';
	printable(text, len);
	return json_object_new_string_len(text, (int)len);
}

static void add_entry(struct json_object *arr, const struct entry *all, size_t cnt,
		      const struct entry *en)
{
	struct json_object *o = json_object_new_object();
	pid_t ppid = 0;

	for (size_t i = 0; i < cnt; i++)
		if (all[i].pid == en->ppid)
			ppid = all[i].inner;
	(void)json_object_object_add(o, "pid", json_object_new_int(en->inner));
	(void)json_object_object_add(o, "ppid", json_object_new_int(ppid));
	(void)json_object_object_add(o, "uid", json_object_new_int64(en->uid));
	(void)json_object_object_add(o, "gid", json_object_new_int64(en->gid));
	(void)json_object_object_add(o, "state", json_object_new_string_len(&en->state, 1));
	(void)json_object_object_add(o, "tty", json_object_new_string(en->tty));
	(void)json_object_object_add(o, "start", json_object_new_int64(en->start));
	(void)json_object_object_add(o, "time_ms", json_object_new_uint64(en->time_ms));
	(void)json_object_object_add(o, "vsz_kb", json_object_new_uint64(en->vsz_kb));
	(void)json_object_object_add(o, "rss_kb", json_object_new_uint64(en->rss_kb));
	(void)json_object_object_add(o, "nice", json_object_new_int(en->nice));
	(void)json_object_object_add(o, "threads", json_object_new_int64(en->threads));
	(void)json_object_object_add(o, "comm", json_object_new_string(en->comm));
	(void)json_object_object_add(o, "cmdline", cmdline(en->pid));
	(void)json_object_array_add(arr, o);
}

int ps_job(void *arg, struct json_object *reply, struct err *e)
{
	const struct container *c = arg;
	struct json_object *arr = json_object_new_array();
	auto_free struct entry *all = NULL;
	auto_free pid_t *pids = NULL;
	struct sysinfo si = {0};
	size_t cnt = 0, n = 0;
	int rc;

	(void)json_object_object_add(reply, "processes", arr);
	(void)sysinfo(&si);
	(void)json_object_object_add(reply, "now", json_object_new_int64(time(NULL)));
	(void)json_object_object_add(
	    reply, "memory_kb", json_object_new_uint64((uint64_t)si.totalram * si.mem_unit / 1024));
	rc = cgrp_pids(c->id, &pids, &cnt);
	if (rc < 0)
		return err_sys(e, rc, "container '%s'", c->id);
	all = calloc(cnt + 1, sizeof(*all));
	if (!all)
		return err_set(e, -ENOMEM, "out of memory");
	/* One that ended meanwhile is left out. */
	for (size_t i = 0; i < cnt; i++)
		if (entry_read(pids[i], &all[n]) == 0)
			n++;
	for (size_t i = 0; i < n; i++)
		add_entry(arr, all, n, &all[i]);
	return 0;
}
