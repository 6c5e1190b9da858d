/* SPDX-License-Identifier: Apache-2.0 */
/* config.json: the linux section (config-linux.md) but its resources. See spec.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/stat.h>

#include "agent/spec.h"
#include "base/fd.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif
#ifndef CLONE_NEWCGROUP
#define CLONE_NEWCGROUP 0x02000000
#endif
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

#define ID_MAPS_MAX 340 /* user_namespaces(7) */

static int parse_namespace(struct json_object *o, struct spec *s, unsigned *seen, struct err *e)
{
	static const struct {
		const char *type;
		int flag;
	} types[] = {
	    {"pid", CLONE_NEWPID},   {"ipc", CLONE_NEWIPC},	  {"uts", CLONE_NEWUTS},
	    {"mount", CLONE_NEWNS},  {"cgroup", CLONE_NEWCGROUP}, {"network", 0},
	    {"user", CLONE_NEWUSER}, {"time", CLONE_NEWTIME},
	};
	const char *type = "", *path = "";
	size_t k;
	int rc = js_str(o, "type", &type, e);

	rc = rc ? rc : js_str(o, "path", &path, e);
	if (rc < 0)
		return rc;
	for (k = 0; k < ARRAY_LEN(types) && strcmp(type, types[k].type) != 0; k++)
		;
	if (k == ARRAY_LEN(types))
		return err_set(e, -EINVAL, "namespace '%s': unknown", type);
	if (*seen & 1u << k)
		return err_set(e, -EINVAL, "namespace '%s': given twice", type);
	*seen |= 1u << k;
	/* The guest's network is the container's: the sandbox process joined or made the real one.
	 */
	if (!types[k].flag)
		return 0;
	if (path[0] && (types[k].flag == CLONE_NEWUSER || types[k].flag == CLONE_NEWTIME))
		return err_set(e, -EOPNOTSUPP, "namespace '%s': joining one is not supported",
			       type);
	if (types[k].flag == CLONE_NEWTIME) {
		s->new_time = true;
		return 0;
	}
	if (!path[0] || types[k].flag == CLONE_NEWNS || types[k].flag == CLONE_NEWCGROUP) {
		s->clone_flags |= types[k].flag;
		return 0;
	}
	if (strcmp(path, "sandbox") == 0)
		return 0; /* the pod's: that of the agent */
	if (strncmp(path, "container:", 10) != 0)
		return err_set(e, -EINVAL, "namespace '%s': path '%s' is none of this pod's", type,
			       path);
	if (types[k].flag == CLONE_NEWPID)
		s->join_pid = path + 10;
	else if (types[k].flag == CLONE_NEWIPC)
		s->join_ipc = path + 10;
	else
		s->join_uts = path + 10;
	return 0;
}

static int parse_namespaces(struct json_object *arr, struct spec *s, struct err *e)
{
	unsigned seen = 0;

	for (size_t i = 0; i < js_len(arr); i++) {
		struct json_object *o = NULL;
		int rc = js_at_obj(arr, i, "namespaces", &o, e);

		rc = rc ? rc : parse_namespace(o, s, &seen, e);
		if (rc < 0)
			return rc;
	}
	/* A container without a mount name space of its own would live in the agent's. */
	s->clone_flags |= CLONE_NEWNS;
	return 0;
}

static int parse_ids(struct json_object *lin, const char *key, bool user, struct spec_ids *m,
		     struct err *e)
{
	struct json_object *arr = NULL;
	int rc = js_arr(lin, key, &arr, e);
	size_t n = js_len(arr);

	if (rc < 0)
		return rc;
	if (user != (n > 0))
		return err_set(e, -EINVAL,
			       user ? "%s: a user namespace needs them"
				    : "%s: there is no user namespace",
			       key);
	if (n > ID_MAPS_MAX)
		return err_set(e, -E2BIG, "%s: more than %d", key, ID_MAPS_MAX);
	m->v = calloc(n + 1, sizeof(*m->v));
	if (!m->v)
		return err_set(e, -ENOMEM, "%s: out of memory", key);
	for (size_t i = 0; i < n; i++) {
		struct json_object *o = NULL;
		int64_t in = 0, out = 0, size = 0;

		rc = js_at_obj(arr, i, key, &o, e);
		rc = rc ? rc : js_int(o, "containerID", 0, UINT_MAX, &in, e);
		rc = rc ? rc : js_int(o, "hostID", 0, UINT_MAX, &out, e);
		rc = rc ? rc : js_int(o, "size", 0, UINT_MAX, &size, e);
		if (rc < 0)
			return rc;
		/* The last number stands for no user at all. */
		if (!size || in + size > UINT_MAX || out + size > UINT_MAX)
			return err_set(e, -EINVAL, "%s[%zu]: %s", key, i,
				       size ? "goes beyond the last id" : "its size is 0");
		m->v[i] = (struct spec_id){(uint32_t)in, (uint32_t)out, (uint32_t)size};
	}
	m->cnt = n;
	return 0;
}

static int parse_offset(struct json_object *all, const char *key, struct spec_offset *ret,
			struct err *e)
{
	struct json_object *o = NULL;
	int64_t nsecs = 0;
	int rc = js_obj(all, key, &o, e);

	if (rc < 0 || !o)
		return rc;
	rc = js_int(o, "secs", INT64_MIN, INT64_MAX, &ret->secs, e);
	rc = rc ? rc : js_int(o, "nanosecs", 0, 999999999, &nsecs, e);
	ret->nsecs = (uint32_t)nsecs;
	return rc;
}

static int parse_offsets(struct json_object *lin, struct spec *s, struct err *e)
{
	struct json_object *o = NULL;
	int rc = js_obj(lin, "timeOffsets", &o, e);

	if (rc < 0 || !o)
		return rc;
	if (!s->new_time && json_object_object_length(o))
		return err_set(e, -EINVAL, "timeOffsets: there is no time namespace");
	rc = parse_offset(o, "monotonic", &s->monotonic, e);
	return rc ? rc : parse_offset(o, "boottime", &s->boottime, e);
}

static int parse_device(struct json_object *o, struct spec_device *d, struct err *e)
{
	const char *type = "";
	int64_t major = 0, minor = 0, mode = 0666, uid = 0, gid = 0;
	int rc = js_str(o, "path", &d->path, e);

	rc = rc ? rc : js_str(o, "type", &type, e);
	rc = rc ? rc : js_int(o, "major", 0, 4095, &major, e);
	rc = rc ? rc : js_int(o, "minor", 0, 1048575, &minor, e);
	rc = rc ? rc : js_int(o, "fileMode", 0, 0177777, &mode, e);
	rc = rc ? rc : js_int(o, "uid", 0, UINT_MAX - 1, &uid, e);
	rc = rc ? rc : js_int(o, "gid", 0, UINT_MAX - 1, &gid, e);
	if (rc < 0)
		return rc;
	if (!d->path || d->path[0] != '/')
		return err_set(e, -EINVAL, "device '%s': not an absolute path",
			       d->path ? d->path : "");
	d->mode = (mode_t)mode & 07777;
	if (strcmp(type, "c") == 0 || strcmp(type, "u") == 0)
		d->mode |= S_IFCHR;
	else if (strcmp(type, "b") == 0)
		d->mode |= S_IFBLK;
	else if (strcmp(type, "p") == 0)
		d->mode |= S_IFIFO;
	else
		return err_set(e, -EINVAL, "device '%s': type '%s' is unknown", d->path, type);
	d->major = (unsigned)major;
	d->minor = (unsigned)minor;
	d->uid = (uid_t)uid;
	d->gid = (gid_t)gid;
	return 0;
}

static int parse_devices(struct json_object *arr, struct spec *s, struct err *e)
{
	s->devices_cnt = js_len(arr);
	s->devices = calloc(s->devices_cnt + 1, sizeof(*s->devices));
	if (!s->devices)
		return err_set(e, -ENOMEM, "devices: out of memory");
	for (size_t i = 0; i < s->devices_cnt; i++) {
		struct json_object *o = NULL;
		int rc = js_at_obj(arr, i, "devices", &o, e);

		rc = rc ? rc : parse_device(o, &s->devices[i], e);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/*
 * The path below /proc/sys of a key: dots separate, or slashes do, whichever comes first
 * (sysctl(8)).
 */
static int sysctl_path(const char *key, char *out, size_t cap)
{
	size_t len = strlen(key), first = strcspn(key, "./");
	bool dots = key[first] != '/';

	if (!len || len >= cap || key[0] == '/' || key[0] == '.' || key[len - 1] == '/')
		return -EINVAL;
	for (size_t i = 0; i <= len; i++) {
		out[i] = key[i];
		if (dots && key[i] == '.')
			out[i] = '/';
		else if (dots && key[i] == '/')
			out[i] = '.';
	}
	for (const char *p = out; p; p = strchr(p, '/')) {
		p += *p == '/';
		if (*p == '/' || (p[0] == '.' && (!p[1] || p[1] == '/')) ||
		    (p[0] == '.' && p[1] == '.' && (!p[2] || p[2] == '/')))
			return -EINVAL;
	}
	return 0;
}

static int parse_sysctls(struct json_object *obj, struct spec *s, struct err *e)
{
	json_object_object_foreach(obj, key, v)
	{
		char path[PATH_MAX];
		const char *value = NULL;
		int rc;

		if (!json_object_is_type(v, json_type_string))
			return err_set(e, -EINVAL, "sysctl %s: not a string", key);
		value = json_object_get_string(v);
		if (sysctl_path(key, path, sizeof(path)) < 0)
			return err_set(e, -EINVAL, "sysctl '%s': not a key", key);
		rc = gspec_writes_add(&s->sysctls, path, "%s", value);
		if (rc < 0)
			return err_sys(e, rc, "sysctl %s", key);
	}
	return 0;
}

static int parse_paths(struct json_object *lin, const char *key, const char ***ret, struct err *e)
{
	int rc = js_strv(lin, key, ret, NULL, NULL, e);

	for (const char **p = *ret; rc == 0 && *p; p++)
		if ((*p)[0] != '/')
			rc = err_set(e, -EINVAL, "%s: '%s' is not an absolute path", key, *p);
	return rc;
}

static int parse_seccomp(struct json_object *o, struct spec *s, struct err *e)
{
	static const struct {
		const char *name;
		unsigned bit;
	} flags[] = {
	    {"SECCOMP_FILTER_FLAG_TSYNC", 0}, /* one thread: nothing to synchronise */
	    {"SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG},
	    {"SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW},
	    {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV},
	};
	struct json_object *arr = NULL;
	const char *name = NULL;
	size_t k;
	int rc = js_arr(o, "flags", &arr, e);

	rc = rc ? rc : js_str(o, "listenerPath", &name, e);
	if (rc == 0 && name && name[0])
		rc = err_set(e, -EOPNOTSUPP, "seccomp.listenerPath: not supported");
	for (size_t i = 0; rc == 0 && i < js_len(arr); i++) {
		rc = js_at_str(arr, i, "seccomp.flags", &name, e);
		if (rc < 0)
			return rc;
		for (k = 0; k < ARRAY_LEN(flags) && strcmp(name, flags[k].name) != 0; k++)
			;
		if (k == ARRAY_LEN(flags))
			return err_set(e, -EINVAL, "seccomp flag '%s': unknown", name);
		s->seccomp_flags |= flags[k].bit;
	}
	s->has_seccomp = true;
	return rc;
}

static int parse_personality(struct json_object *o, struct spec *s, struct err *e)
{
	struct json_object *arr = NULL;
	const char *domain = "";
	int rc = js_str(o, "domain", &domain, e);

	rc = rc ? rc : js_arr(o, "flags", &arr, e);
	if (rc < 0)
		return rc;
	if (js_len(arr))
		return err_set(e, -EOPNOTSUPP, "personality.flags: not supported");
	if (strcmp(domain, "LINUX") == 0)
		s->personality = PER_LINUX;
	else if (strcmp(domain, "LINUX32") == 0)
		s->personality = PER_LINUX32;
	else
		return err_set(e, -EINVAL, "personality.domain '%s': unknown", domain);
	s->has_personality = true;
	return 0;
}

int gspec_parse_linux(struct json_object *lin, struct spec *s, struct err *e)
{
	struct json_object *ns = NULL, *dev = NULL, *sysctl = NULL, *sec = NULL, *res = NULL,
			   *per = NULL;
	const char *prop = "";
	bool user;
	int rc = js_arr(lin, "namespaces", &ns, e);

	rc = rc ? rc : js_arr(lin, "devices", &dev, e);
	rc = rc ? rc : js_obj(lin, "sysctl", &sysctl, e);
	rc = rc ? rc : js_obj(lin, "seccomp", &sec, e);
	rc = rc ? rc : js_obj(lin, "resources", &res, e);
	rc = rc ? rc : js_obj(lin, "personality", &per, e);
	rc = rc ? rc : js_str(lin, "rootfsPropagation", &prop, e);
	if (rc == 0 && prop[0]) {
		s->propagation = mountopt_propagation(prop);
		if (!s->propagation)
			rc = err_set(e, -EINVAL, "rootfsPropagation '%s': unknown", prop);
	}
	rc = rc ? rc : parse_namespaces(ns, s, e);
	user = s->clone_flags & CLONE_NEWUSER;
	rc = rc ? rc : parse_ids(lin, "uidMappings", user, &s->uids, e);
	rc = rc ? rc : parse_ids(lin, "gidMappings", user, &s->gids, e);
	rc = rc ? rc : parse_offsets(lin, s, e);
	rc = rc ? rc : parse_devices(dev, s, e);
	if (rc == 0 && sysctl)
		rc = parse_sysctls(sysctl, s, e);
	if (rc == 0 && sec)
		rc = parse_seccomp(sec, s, e);
	if (rc == 0 && per)
		rc = parse_personality(per, s, e);
	if (rc == 0 && res)
		rc = gspec_parse_resources(res, s, e);
	rc = rc ? rc : parse_paths(lin, "maskedPaths", &s->masked, e);
	rc = rc ? rc : parse_paths(lin, "readonlyPaths", &s->readonly, e);
	return rc < 0 ? err_wrap(e, "linux") : 0;
}
