/* SPDX-License-Identifier: Apache-2.0 */
/* See ps.h. Reading /proc of a hostile process may take for ever, which is why this runs in a
 * child. */
#include "agent/ps.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/child.h"
#include "base/fd.h"

#define CMDLINE_MAX (64u << 10)

struct entry {
	pid_t pid, ppid; /* the agent's */
	pid_t inner;	 /* in the innermost pid name space */
	unsigned uid;
	char comm[64];
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
	v = field(text, "PPid:");
	en->ppid = v ? (pid_t)strtol(v, NULL, 10) : 0;
	v = field(text, "Uid:");
	en->uid = v ? (unsigned)strtoul(v, NULL, 10) : 0;
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
	return 0;
}

/* Arguments with spaces between them; bytes that are not UTF-8 cannot be JSON. */
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
	for (size_t i = 0; i < len; i++) {
		if (!text[i])
			text[i] = ' ';
		else if ((unsigned char)text[i] >= 0x80)
			text[i] = '?';
	}
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
	size_t cnt = 0, n = 0;
	int rc;

	(void)json_object_object_add(reply, "processes", arr);
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
