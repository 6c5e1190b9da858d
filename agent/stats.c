/* SPDX-License-Identifier: Apache-2.0 */
/* See stats.h. */
#include "agent/stats.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/child.h"
#include "base/fd.h"

#define FILE_MAX (1u << 20)

/* ---- parsers ----------------------------------------------------------------------------------- */

/* Digits up to @end or the first other character, which becomes *ret_next. False: none, or too large. */
static bool digits(const char *p, const char **ret_next, uint64_t *ret)
{
	char *end;

	if (*p < '0' || *p > '9')
		return false;
	errno = 0;
	*ret = strtoull(p, &end, 10);
	*ret_next = end;
	return errno == 0;
}

static void add_number(struct json_object *to, const char *key, uint64_t v)
{
	(void)json_object_object_add(to, key, json_object_new_uint64(v));
}

static const char *next_line(const char *p)
{
	p = strchr(p, '\n');
	return p ? p + 1 : NULL;
}

void stats_flat(const char *text, struct json_object *to)
{
	for (const char *p = text, *end; p && *p; p = next_line(p)) {
		size_t n = strcspn(p, " \n");
		char key[64];
		uint64_t v;

		if (!n || n >= sizeof(key) || p[n] != ' ' || !digits(p + n + 1, &end, &v) ||
		    (*end && *end != '\n'))
			continue;
		memcpy(key, p, n);
		key[n] = '\0';
		add_number(to, key, v);
	}
}

uint64_t stats_value(const char *text, const char *key)
{
	size_t n = strlen(key);

	for (const char *p = text, *end; p && *p; p = next_line(p)) {
		uint64_t v;

		if (strncmp(p, key, n) == 0 && p[n] == ' ' && digits(p + n + 1, &end, &v))
			return v;
	}
	return 0;
}

void stats_number(const char *text, const char *key, struct json_object *to)
{
	const char *end;
	uint64_t v;

	if (digits(text, &end, &v) && (!*end || *end == '\n'))
		add_number(to, key, v);
}

/* "rbytes=1 wbytes=2 ..." until the end of the line. */
static void io_pairs(const char *p, struct json_object *to)
{
	while (*p && *p != '\n') {
		size_t n = strcspn(p, "= \n");
		const char *end = p + n;
		char key[32];
		uint64_t v;

		if (n && n < sizeof(key) && *end == '=' && digits(end + 1, &end, &v)) {
			memcpy(key, p, n);
			key[n] = '\0';
			add_number(to, key, v);
		}
		p = end + strcspn(end, " \n");
		p += strspn(p, " ");
	}
}

void stats_io(const char *text, struct json_object *to)
{
	for (const char *p = text; p && *p; p = next_line(p)) {
		struct json_object *o;
		const char *at = p;
		uint64_t major, minor;

		if (!digits(at, &at, &major) || *at != ':' || !digits(at + 1, &at, &minor) ||
		    *at != ' ')
			continue;
		o = json_object_new_object();
		add_number(o, "major", major);
		add_number(o, "minor", minor);
		io_pairs(at + 1, o);
		(void)json_object_array_add(to, o);
	}
}

/* A name is the container's choice: any bytes but '/', ':' and white space. JSON wants UTF-8. */
static struct json_object *net_name(const char *p, size_t n)
{
	char name[64];

	n = MIN(n, sizeof(name));
	for (size_t i = 0; i < n; i++)
		name[i] = (unsigned char)p[i] >= 0x80 ? '?' : p[i];
	return json_object_new_string_len(name, (int)n);
}

void stats_net(const char *text, struct json_object *to)
{
	static const struct {
		unsigned column;
		const char *key;
	} wanted[] = {{0, "rx_bytes"}, {1, "rx_packets"}, {2, "rx_errors"},  {3, "rx_dropped"},
		      {8, "tx_bytes"}, {9, "tx_packets"}, {10, "tx_errors"}, {11, "tx_dropped"}};

	for (const char *p = text; p && *p; p = next_line(p)) {
		const char *colon, *at;
		struct json_object *o;
		uint64_t v[16];
		unsigned n = 0;

		p += strspn(p, " ");
		colon = p + strcspn(p, ": \n");
		if (*colon != ':' || colon == p)
			continue;
		for (at = colon + 1; n < ARRAY_LEN(v); n++) {
			at += strspn(at, " ");
			if (!digits(at, &at, &v[n]))
				break;
		}
		if (n < ARRAY_LEN(v))
			continue;
		o = json_object_new_object();
		(void)json_object_object_add(o, "name", net_name(p, (size_t)(colon - p)));
		for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
			add_number(o, wanted[i].key, v[wanted[i].column]);
		(void)json_object_array_add(to, o);
	}
}

/* ---- reading ----------------------------------------------------------------------------------- */

static void flat(int dir, const char *file, struct json_object *to)
{
	auto_free char *text = NULL;

	if (fd_read_file(dir, file, FILE_MAX, &text, NULL) == 0)
		stats_flat(text, to);
}

static void number(int dir, const char *file, const char *key, struct json_object *to)
{
	auto_free char *text = NULL;

	if (fd_read_file(dir, file, FILE_MAX, &text, NULL) == 0)
		stats_number(text, key, to);
}

static struct json_object *member(struct json_object *o, const char *key, struct json_object *v)
{
	(void)json_object_object_add(o, key, v);
	return v;
}

/* hugetlb.SIZE.current, .max and .events, for each SIZE that the kernel has. */
static void huge_pages(int dir, struct json_object *to)
{
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *de;

	while (d && (de = readdir(d)) != NULL) {
		auto_free char *events = NULL;
		struct json_object *o;
		char size[16], file[64];
		size_t len;

		if (strncmp(de->d_name, "hugetlb.", 8))
			continue;
		len = strspn(de->d_name + 8, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ");
		if (!len || len >= sizeof(size) || strcmp(de->d_name + 8 + len, ".current") != 0)
			continue;
		memcpy(size, de->d_name + 8, len);
		size[len] = '\0';
		o = member(to, size, json_object_new_object());
		number(dir, de->d_name, "current", o);
		(void)snprintf(file, sizeof(file), "hugetlb.%s.max", size);
		number(dir, file, "max", o);
		(void)snprintf(file, sizeof(file), "hugetlb.%s.events", size);
		if (fd_read_file(dir, file, FILE_MAX, &events, NULL) == 0)
			add_number(o, "failed", stats_value(events, "max"));
	}
	if (d)
		(void)closedir(d);
	else
		fd_close(&copy);
}

int stats_job(void *arg, struct json_object *reply, struct err *e)
{
	const struct container *c = arg;
	struct json_object *o;
	auto_free char *io = NULL;
	auto_free char *net = NULL;
	auto_fd dir = cgrp_open(c->id, 0);

	if (dir < 0)
		return err_sys(e, dir, "cgroup of container '%s'", c->id);
	flat(dir, "cpu.stat", member(reply, "cpu", json_object_new_object()));
	o = member(reply, "memory", json_object_new_object());
	number(dir, "memory.current", "current", o);
	number(dir, "memory.max", "max", o);
	number(dir, "memory.peak", "peak", o);
	number(dir, "memory.swap.current", "swap_current", o);
	number(dir, "memory.swap.max", "swap_max", o);
	flat(dir, "memory.stat", member(o, "stat", json_object_new_object()));
	flat(dir, "memory.events", member(o, "events", json_object_new_object()));
	o = member(reply, "pids", json_object_new_object());
	number(dir, "pids.current", "current", o);
	number(dir, "pids.max", "max", o);
	o = member(reply, "io", json_object_new_array());
	if (fd_read_file(dir, "io.stat", FILE_MAX, &io, NULL) == 0)
		stats_io(io, o);
	huge_pages(dir, member(reply, "hugetlb", json_object_new_object()));
	/* The pod's containers share the agent's network name space. */
	o = member(reply, "network", json_object_new_array());
	if (fd_read_file(AT_FDCWD, "/proc/net/dev", FILE_MAX, &net, NULL) == 0)
		stats_net(net, o);
	return 0;
}
