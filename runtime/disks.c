/* SPDX-License-Identifier: Apache-2.0 */
/* linux.devices. See disks.h. */
#include "runtime/disks.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/fd.h"
#include "base/log.h"

#define WHAT "config.json: linux.devices"

/* Character devices that the guest's kernel has under the same numbers (Linux's devices.txt). */
static const struct {
	unsigned major, first, last;
} guests[] = {
    {1, 1, 11},	       /* mem, null, port, zero, full, random, urandom, kmsg */
    {5, 0, 2},	       /* tty, console, ptmx */
    {10, 183, 183},    /* hwrng */
    {10, 200, 200},    /* net/tun */
    {10, 229, 229},    /* fuse */
    {10, 237, 237},    /* loop-control */
    {136, 0, 1048575}, /* pts */
};

bool disks_guest_has(int64_t major, int64_t minor)
{
	for (size_t i = 0; i < ARRAY_LEN(guests); i++)
		if (major == guests[i].major && minor >= guests[i].first && minor <= guests[i].last)
			return true;
	return false;
}

static bool fits(struct json_object *rule, char type, int64_t major, int64_t minor)
{
	const char *t = json_str(rule, "type", "a");
	int64_t maj = json_i64(rule, "major", -1), min = json_i64(rule, "minor", -1);

	if (!t[0] || t[0] == 'a')
		return true;
	return t[0] == type && (maj < 0 || maj == major) && (min < 0 || min == minor);
}

void disks_access(const struct spec *s, char type, int64_t major, int64_t minor, char ret[4])
{
	struct json_object *rules = json_at(s->root, "linux.resources.devices");
	size_t cnt = rules ? json_object_array_length(rules) : 0, n = 0;
	/* Without rules nothing is forbidden, as the agent has it. */
	bool may[3] = {!cnt, !cnt, !cnt};

	for (size_t i = 0; i < cnt; i++) {
		struct json_object *r = json_object_array_get_idx(rules, i);
		const char *access = json_str(r, "access", "");

		if (!fits(r, type, major, minor))
			continue;
		for (int k = 0; k < 3; k++)
			if (!access[0] || strchr(access, "rwm"[k]))
				may[k] = json_flag(r, "allow", false);
	}
	for (int k = 0; k < 3; k++)
		if (may[k])
			ret[n++] = "rwm"[k];
	ret[n] = '\0';
}

bool disks_is_privileged(const struct spec *s)
{
	struct json_object *rules = json_at(s->root, "linux.resources.devices");
	bool all = false;

	for (size_t i = 0; rules && i < json_object_array_length(rules); i++) {
		struct json_object *r = json_object_array_get_idx(rules, i);
		const char *t = json_str(r, "type", "a"), *a = json_str(r, "access", "");

		if ((!t[0] || t[0] == 'a') && (!a[0] || (strchr(a, 'r') && strchr(a, 'w'))))
			all = json_flag(r, "allow", false);
	}
	return all;
}

/* The host's device of these numbers, as a path that leads to it; or -ENOENT. */
static int host_path(char type, int64_t major, int64_t minor, const char *hint, char *out,
		     size_t cap)
{
	const dev_t dev = makedev((unsigned)major, (unsigned)minor);
	auto_free char *text = NULL;
	char uevent[96], *name;
	struct stat st;

	(void)snprintf(uevent, sizeof(uevent), "/sys/dev/%s/%" PRId64 ":%" PRId64 "/uevent",
		       type == 'b' ? "block" : "char", major, minor);
	if (fd_read_file(AT_FDCWD, uevent, 4096, &text, NULL) < 0)
		return -ENOENT;
	name = strstr(text, "DEVNAME=");
	if (name) {
		name += 8;
		name[strcspn(name, "\n")] = '\0';
		if ((size_t)snprintf(out, cap, "/dev/%s", name) < cap && stat(out, &st) == 0 &&
		    S_ISBLK(st.st_mode) == (type == 'b') && st.st_rdev == dev)
			return 0;
	}
	if ((size_t)snprintf(out, cap, "%s", hint) < cap && stat(out, &st) == 0 &&
	    S_ISBLK(st.st_mode) == (type == 'b') && st.st_rdev == dev)
		return 0;
	return -ENODEV; /* there, but no path leads to it */
}

static int open_disk(const struct spec *s, const char *path, int64_t major, int64_t minor,
		     const char *host, struct disks *ret, struct err *e)
{
	struct disk *d = &ret->v[ret->cnt];
	struct stat st;

	if (ret->cnt == DISKS_MAX)
		return err_set(e, -E2BIG, WHAT ": '%s': more than %d block devices", path,
			       DISKS_MAX);
	memset(d, 0, sizeof(*d));
	d->path = path;
	disks_access(s, 'b', major, minor, d->access);
	d->readonly = !strchr(d->access, 'w');
	d->fd = open(host, (d->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (d->fd < 0 && !d->readonly && (errno == EROFS || errno == EACCES)) {
		d->readonly = true;
		d->fd = open(host, O_RDONLY | O_CLOEXEC);
	}
	if (d->fd < 0)
		return err_sys(e, -errno, WHAT ": '%s': opening %s", path, host);
	ret->cnt++;
	if (fstat(d->fd, &st) < 0 || !S_ISBLK(st.st_mode) ||
	    st.st_rdev != makedev((unsigned)major, (unsigned)minor))
		return err_set(e, -ENODEV, WHAT ": '%s': %s is another device now", path, host);
	return 0;
}

/* What becomes of one: 1 = the guest makes it, 0 = it is not in the guest's list. */
static int sort_one(const struct spec *s, struct json_object *dev, bool privileged,
		    struct disks *ret, struct err *e)
{
	const char *type = json_str(dev, "type", ""), *path = json_str(dev, "path", "");
	int64_t major = json_i64(dev, "major", 0), minor = json_i64(dev, "minor", 0);
	bool block = !strcmp(type, "b");
	char host[PATH_MAX];
	int rc;

	if (!strcmp(type, "p"))
		return 1;
	if (!block && strcmp(type, "c") != 0 && strcmp(type, "u") != 0)
		return err_set(e, -EINVAL, WHAT ": '%s': type '%s' is unknown", path, type);
	if (major < 0 || minor < 0 || major > 4095 || minor > 1048575)
		return err_set(e, -EINVAL, WHAT ": '%s': %" PRId64 ":%" PRId64 " is no device",
			       path, major, minor);
	if (!block && disks_guest_has(major, minor))
		return 1;
	rc = host_path(block ? 'b' : 'c', major, minor, path, host, sizeof(host));
	/* Numbers that mean nothing here mean nothing there: a node with nothing behind it. */
	if (rc == -ENOENT)
		return 1;
	if (privileged) {
		log_dbg(WHAT ": '%s' is the host's and left out", path);
		return 0;
	}
	if (!block)
		return err_set(e, -ENOTSUP,
			       WHAT ": '%s': character device %" PRId64 ":%" PRId64
				    " of the host does not reach into the VM",
			       path, major, minor);
	if (rc < 0)
		return err_sys(e, rc, WHAT ": '%s'", path);
	return open_disk(s, path, major, minor, host, ret, e);
}

int disks_open(struct spec *s, struct disks *ret, struct err *e)
{
	struct json_object *devices = json_at(s->root, "linux.devices");
	bool privileged = disks_is_privileged(s);
	size_t i = 0;

	ret->cnt = 0;
	while (devices && i < json_object_array_length(devices)) {
		struct json_object *dev = json_object_array_get_idx(devices, i);
		unsigned before = ret->cnt;
		int rc = sort_one(s, dev, privileged, ret, e);

		if (rc < 0)
			return rc;
		/* A disk's node has its mode and owner from there, its numbers from the guest. */
		if (rc == 1 || ret->cnt != before)
			i++;
		else
			(void)json_object_array_del_idx(devices, i, 1);
	}
	return 0;
}

void disks_close(struct disks *d)
{
	for (unsigned i = 0; i < d->cnt; i++)
		fd_close(&d->v[i].fd);
	d->cnt = 0;
}
