/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.json: rules of types, rules of what can be done. See spec.h.
 */
#include "runtime/spec.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/compiler.h"
#include "base/fd.h"

#define WHAT "config.json"

/* Parents before children: a wrong parent is named itself. */
static const struct json_rule rules[] = {
    {"ociVersion", JSON_STR, true},
    {"hostname", JSON_STR, false},
    {"domainname", JSON_STR, false},
    {"annotations", JSON_MAP, false},
    {"root", JSON_OBJ, true},
    {"root.path", JSON_STR, true},
    {"root.readonly", JSON_BOOL, false},
    {"process", JSON_OBJ, true},
    {"process.terminal", JSON_BOOL, false},
    {"process.consoleSize", JSON_OBJ, false},
    {"process.consoleSize.height", JSON_U32, true},
    {"process.consoleSize.width", JSON_U32, true},
    {"process.args", JSON_STRS, true},
    {"process.env", JSON_STRS, false},
    {"process.cwd", JSON_STR, true},
    {"process.user", JSON_OBJ, false},
    {"process.user.uid", JSON_U32, false},
    {"process.user.gid", JSON_U32, false},
    {"process.user.umask", JSON_U32, false},
    {"process.user.additionalGids", JSON_U32S, false},
    {"process.capabilities", JSON_OBJ, false},
    {"process.capabilities.bounding", JSON_STRS, false},
    {"process.capabilities.effective", JSON_STRS, false},
    {"process.capabilities.inheritable", JSON_STRS, false},
    {"process.capabilities.permitted", JSON_STRS, false},
    {"process.capabilities.ambient", JSON_STRS, false},
    {"process.rlimits", JSON_OBJS, false},
    {"process.rlimits[].type", JSON_STR, true},
    {"process.rlimits[].soft", JSON_U64, true},
    {"process.rlimits[].hard", JSON_U64, true},
    {"process.noNewPrivileges", JSON_BOOL, false},
    {"process.oomScoreAdj", JSON_I64, false},
    {"process.apparmorProfile", JSON_STR, false},
    {"process.selinuxLabel", JSON_STR, false},
    {"mounts", JSON_OBJS, false},
    {"mounts[].destination", JSON_STR, true},
    {"mounts[].type", JSON_STR, false},
    {"mounts[].source", JSON_STR, false},
    {"mounts[].options", JSON_STRS, false},
    {"mounts[].uidMappings", JSON_OBJS, false},
    {"mounts[].gidMappings", JSON_OBJS, false},
    {"hooks", JSON_OBJ, false},
    {"hooks.prestart", JSON_OBJS, false},
    {"hooks.createRuntime", JSON_OBJS, false},
    {"hooks.createContainer", JSON_OBJS, false},
    {"hooks.startContainer", JSON_OBJS, false},
    {"hooks.poststart", JSON_OBJS, false},
    {"hooks.poststop", JSON_OBJS, false},
    {"linux", JSON_OBJ, false},
    {"linux.namespaces", JSON_OBJS, false},
    {"linux.namespaces[].type", JSON_STR, true},
    {"linux.namespaces[].path", JSON_STR, false},
    {"linux.uidMappings", JSON_OBJS, false},
    {"linux.uidMappings[].containerID", JSON_U32, true},
    {"linux.uidMappings[].hostID", JSON_U32, true},
    {"linux.uidMappings[].size", JSON_U32, true},
    {"linux.gidMappings", JSON_OBJS, false},
    {"linux.gidMappings[].containerID", JSON_U32, true},
    {"linux.gidMappings[].hostID", JSON_U32, true},
    {"linux.gidMappings[].size", JSON_U32, true},
    {"linux.devices", JSON_OBJS, false},
    {"linux.devices[].type", JSON_STR, true},
    {"linux.devices[].path", JSON_STR, true},
    {"linux.devices[].major", JSON_I64, false},
    {"linux.devices[].minor", JSON_I64, false},
    {"linux.devices[].fileMode", JSON_U32, false},
    {"linux.devices[].uid", JSON_U32, false},
    {"linux.devices[].gid", JSON_U32, false},
    {"linux.cgroupsPath", JSON_STR, false},
    {"linux.resources", JSON_OBJ, false},
    {"linux.resources.memory", JSON_OBJ, false},
    {"linux.resources.memory.limit", JSON_I64, false},
    {"linux.resources.memory.reservation", JSON_I64, false},
    {"linux.resources.memory.swap", JSON_I64, false},
    {"linux.resources.cpu", JSON_OBJ, false},
    {"linux.resources.cpu.shares", JSON_U64, false},
    {"linux.resources.cpu.quota", JSON_I64, false},
    {"linux.resources.cpu.period", JSON_U64, false},
    {"linux.resources.cpu.cpus", JSON_STR, false},
    {"linux.resources.cpu.mems", JSON_STR, false},
    {"linux.resources.pids", JSON_OBJ, false},
    {"linux.resources.pids.limit", JSON_I64, false},
    {"linux.resources.unified", JSON_MAP, false},
    {"linux.sysctl", JSON_MAP, false},
    {"linux.seccomp", JSON_OBJ, false},
    {"linux.seccomp.defaultAction", JSON_STR, true},
    {"linux.seccomp.defaultErrnoRet", JSON_U32, false},
    {"linux.seccomp.architectures", JSON_STRS, false},
    {"linux.seccomp.flags", JSON_STRS, false},
    {"linux.seccomp.listenerPath", JSON_STR, false},
    {"linux.seccomp.syscalls", JSON_OBJS, false},
    {"linux.seccomp.syscalls[].names", JSON_STRS, true},
    {"linux.seccomp.syscalls[].action", JSON_STR, true},
    {"linux.seccomp.syscalls[].errnoRet", JSON_U32, false},
    {"linux.seccomp.syscalls[].args", JSON_OBJS, false},
    {"linux.seccomp.syscalls[].args[].index", JSON_U32, true},
    {"linux.seccomp.syscalls[].args[].value", JSON_U64, true},
    {"linux.seccomp.syscalls[].args[].valueTwo", JSON_U64, false},
    {"linux.seccomp.syscalls[].args[].op", JSON_STR, true},
    {"linux.rootfsPropagation", JSON_STR, false},
    {"linux.maskedPaths", JSON_STRS, false},
    {"linux.readonlyPaths", JSON_STRS, false},
    {"linux.mountLabel", JSON_STR, false},
};

static const char *const hook_names[] = {"prestart",	   "createRuntime", "createContainer",
					 "startContainer", "poststart",	    "poststop"};
static const struct json_rule hook_rules[] = {
    {"path", JSON_STR, true},
    {"args", JSON_STRS, false},
    {"env", JSON_STRS, false},
    {"timeout", JSON_U32, false},
};

void spec_free(struct spec *s)
{
	json_put_ptr(&s->root);
	free(s->text);
	free(s->bundle);
	free(s->rootfs);
	memset(s, 0, sizeof(*s));
}

static int check_version(const struct spec *s, struct err *e)
{
	const char *v = json_str(s->root, "ociVersion", "");
	unsigned major, minor, patch;
	int end = 0;

	if (sscanf(v, "%3u.%3u.%3u%n", &major, &minor, &patch, &end) != 3 || end == 0 ||
	    (v[end] && v[end] != '-' && v[end] != '+'))
		return err_set(e, -EINVAL, WHAT ": ociVersion: '%s' is not a version", v);
	if (major != 1)
		return err_set(e, -EINVAL, WHAT ": ociVersion: '%s' is not a version 1", v);
	return 0;
}

static int check_process(const struct spec *s, struct err *e)
{
	const char *cwd = json_str(s->root, "process.cwd", "");
	struct json_object *env = json_at(s->root, "process.env");

	if (json_len(s->root, "process.args") == 0)
		return err_set(e, -EINVAL, WHAT ": process.args: empty");
	if (cwd[0] != '/')
		return err_set(e, -EINVAL, WHAT ": process.cwd: '%s' is not absolute", cwd);
	for (size_t i = 0; env && i < json_object_array_length(env); i++) {
		const char *v = json_object_get_string(json_object_array_get_idx(env, i));

		if (!strchr(v, '=') || v[0] == '=')
			return err_set(e, -EINVAL,
				       WHAT ": process.env[%zu]: not of the form NAME=VALUE", i);
	}
	return 0;
}

/* Does @path, as it is written, name the root itself? */
static bool is_root(const char *path)
{
	unsigned depth = 0;

	while (*path) {
		size_t skip = strspn(path, "/"), n = strcspn(path + skip, "/");
		const char *name = path + skip;

		if (n == 2 && name[0] == '.' && name[1] == '.')
			depth -= depth > 0;
		else if (n > 0 && !(n == 1 && name[0] == '.'))
			depth++;
		path = name + n;
	}
	return depth == 0;
}

static int check_mounts(const struct spec *s, struct err *e)
{
	struct json_object *mounts = json_at(s->root, "mounts");

	for (size_t i = 0; mounts && i < json_object_array_length(mounts); i++) {
		struct json_object *m = json_object_array_get_idx(mounts, i);

		if (!json_str(m, "destination", "")[0])
			return err_set(e, -EINVAL, WHAT ": mounts[%zu].destination: empty", i);
		if (is_root(json_str(m, "destination", "")))
			return err_set(e, -EINVAL,
				       WHAT
				       ": mounts[%zu].destination: '%.200s' is the root itself",
				       i, json_str(m, "destination", ""));
		if (!spec_mount_is_guest(m) && !json_str(m, "source", "")[0])
			return err_set(e, -EINVAL,
				       WHAT ": mounts[%zu]: a bind mount without a source", i);
		if (json_len(m, "uidMappings") || json_len(m, "gidMappings"))
			return err_set(e, -ENOTSUP,
				       WHAT ": mounts[%zu]: id-mapped mounts are not supported", i);
	}
	return 0;
}

static int check_hooks(const struct spec *s, struct err *e)
{
	char what[128], path[64];

	for (size_t h = 0; h < ARRAY_LEN(hook_names); h++) {
		struct json_object *a;

		(void)snprintf(path, sizeof(path), "hooks.%s", hook_names[h]);
		a = json_at(s->root, path);
		for (size_t i = 0; a && i < json_object_array_length(a); i++) {
			struct json_object *hook = json_object_array_get_idx(a, i);
			int rc;

			(void)snprintf(what, sizeof(what), WHAT ": %s[%zu]", path, i);
			rc = json_check(hook, what, hook_rules, ARRAY_LEN(hook_rules), e);
			if (rc < 0)
				return rc;
			if (json_str(hook, "path", "")[0] != '/')
				return err_set(e, -EINVAL, "%s.path: not absolute", what);
		}
	}
	if (json_len(s->root, "hooks.startContainer"))
		return err_set(e, -ENOTSUP, WHAT ": hooks.startContainer: not supported yet");
	return 0;
}

static int check_namespaces(struct spec *s, struct err *e)
{
	static const char *const types[] = {"pid", "network", "mount",	"ipc",
					    "uts", "user",    "cgroup", "time"};
	struct json_object *a = json_at(s->root, "linux.namespaces");
	unsigned seen = 0;

	for (size_t i = 0; a && i < json_object_array_length(a); i++) {
		struct json_object *ns = json_object_array_get_idx(a, i);
		const char *type = json_str(ns, "type", ""), *path = json_str(ns, "path", "");
		size_t t = 0;

		while (t < ARRAY_LEN(types) && strcmp(types[t], type) != 0)
			t++;
		if (t == ARRAY_LEN(types))
			return err_set(e, -EINVAL,
				       WHAT ": linux.namespaces[%zu].type: '%s' is no namespace", i,
				       type);
		if (seen & (1u << t))
			return err_set(e, -EINVAL, WHAT ": linux.namespaces: '%s' is there twice",
				       type);
		seen |= 1u << t;
		if (!strcmp(type, "network"))
			s->netns = path[0] ? path : NULL;
		else if (path[0])
			return err_set(e, -ENOTSUP,
				       WHAT
				       ": linux.namespaces[%zu]: joining a %s namespace is not "
				       "supported: it would be one of the host, and the container "
				       "has a kernel of its own",
				       i, type);
	}
	if (!(seen & (1u << 1)))
		return err_set(
		    e, -ENOTSUP,
		    WHAT ": linux.namespaces: host network is not supported: a container in a "
			 "VM needs a network namespace");
	return 0;
}

static int check_resources(struct spec *s, struct err *e)
{
	s->memory_limit = json_i64(s->root, "linux.resources.memory.limit", 0);
	if (s->memory_limit < 0)
		s->memory_limit = 0; /* -1 = without a limit */
	s->cpu_quota = json_i64(s->root, "linux.resources.cpu.quota", 0);
	s->cpu_period = json_i64(s->root, "linux.resources.cpu.period", 0);
	if (s->cpu_period <= 0)
		s->cpu_period = 100000; /* the kernel's default */
	if (s->memory_limit > (INT64_C(1) << 44))
		return err_set(e, -EINVAL, WHAT ": linux.resources.memory.limit: more than 16 TiB");
	return 0;
}

int spec_parse(struct spec *s, const char *text, size_t len, struct err *e)
{
	int rc;

	memset(s, 0, sizeof(*s));
	if (len > SPEC_SIZE_MAX)
		return err_set(e, -EFBIG, WHAT ": larger than %u MiB", SPEC_SIZE_MAX >> 20);
	rc = json_parse(text, len, WHAT, &s->root, e);
	if (rc == 0)
		rc = json_check(s->root, WHAT, rules, ARRAY_LEN(rules), e);
	if (rc == 0)
		rc = check_version(s, e);
	if (rc == 0)
		rc = check_process(s, e);
	if (rc == 0)
		rc = check_mounts(s, e);
	if (rc == 0)
		rc = check_hooks(s, e);
	if (rc == 0)
		rc = check_namespaces(s, e);
	if (rc == 0)
		rc = check_resources(s, e);
	if (rc == 0 && json_at(s->root, "vm"))
		rc = err_set(e, -ENOTSUP, WHAT ": vm: this section is not supported");
	if (rc < 0) {
		spec_free(s);
		return rc;
	}
	s->text = malloc(len + 1);
	if (!s->text) {
		spec_free(s);
		return err_set(e, -ENOMEM, WHAT ": out of memory");
	}
	memcpy(s->text, text, len);
	s->text[len] = '\0';
	s->text_len = len;
	s->readonly = json_flag(s->root, "root.readonly", false);
	s->terminal = json_flag(s->root, "process.terminal", false);
	s->cgroups_path = json_str(s->root, "linux.cgroupsPath", NULL);
	if (s->cgroups_path && !s->cgroups_path[0])
		s->cgroups_path = NULL;
	return 0;
}

static int resolve_rootfs(struct spec *s, struct err *e)
{
	const char *path = json_str(s->root, "root.path", "");
	char full[PATH_MAX], *real;
	struct stat st;

	if (!path[0])
		return err_set(e, -EINVAL, WHAT ": root.path: empty");
	if ((size_t)snprintf(full, sizeof(full), "%s%s%s", path[0] == '/' ? "" : s->bundle,
			     path[0] == '/' ? "" : "/", path) >= sizeof(full))
		return err_set(e, -ENAMETOOLONG, WHAT ": root.path: too long");
	real = realpath(full, NULL);
	if (!real)
		return err_sys(e, -errno, "rootfs '%s'", full);
	s->rootfs = real;
	if (stat(real, &st) < 0)
		return err_sys(e, -errno, "rootfs '%s'", real);
	if (!S_ISDIR(st.st_mode))
		return err_set(e, -ENOTDIR, "rootfs '%s': not a directory", real);
	return 0;
}

int spec_load(struct spec *s, const char *bundle, struct err *e)
{
	auto_free char *text = NULL;
	char *real = realpath(bundle, NULL);
	auto_fd dir = -1;
	size_t len = 0;
	int rc;

	memset(s, 0, sizeof(*s));
	if (!real)
		return err_sys(e, -errno, "bundle '%s'", bundle);
	dir = open(real, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0) {
		rc = err_sys(e, -errno, "bundle '%s'", real);
		free(real);
		return rc;
	}
	rc = fd_read_file(dir, "config.json", SPEC_SIZE_MAX, &text, &len);
	if (rc < 0)
		rc = err_sys(e, rc, "%s/config.json", real);
	else
		rc = spec_parse(s, text, len, e);
	if (rc < 0) {
		free(real);
		return rc;
	}
	s->bundle = real;
	rc = resolve_rootfs(s, e);
	if (rc < 0)
		spec_free(s);
	return rc;
}

static bool has_option(struct json_object *mount, const char *name)
{
	struct json_object *o = json_at(mount, "options");

	for (size_t i = 0; o && i < json_object_array_length(o); i++)
		if (!strcmp(json_object_get_string(json_object_array_get_idx(o, i)), name))
			return true;
	return false;
}

bool spec_mount_is_guest(struct json_object *mount)
{
	const char *type = json_str(mount, "type", "");

	return strcmp(type, "bind") != 0 && !has_option(mount, "bind") &&
	       !has_option(mount, "rbind");
}

void spec_bind_options(struct json_object *mount, struct spec_bind *ret)
{
	static const struct {
		const char *name;
		uint64_t attr;
		bool clear;
	} opts[] = {
	    {"ro", MOUNT_ATTR_RDONLY, false},	  {"rw", MOUNT_ATTR_RDONLY, true},
	    {"nosuid", MOUNT_ATTR_NOSUID, false}, {"suid", MOUNT_ATTR_NOSUID, true},
	    {"nodev", MOUNT_ATTR_NODEV, false},	  {"dev", MOUNT_ATTR_NODEV, true},
	    {"noexec", MOUNT_ATTR_NOEXEC, false}, {"exec", MOUNT_ATTR_NOEXEC, true},
	};
	struct json_object *o = json_at(mount, "options");

	*ret = (struct spec_bind){.recursive = has_option(mount, "rbind")};
	for (size_t i = 0; o && i < json_object_array_length(o); i++) {
		const char *name = json_object_get_string(json_object_array_get_idx(o, i));

		for (size_t k = 0; k < ARRAY_LEN(opts); k++) {
			if (strcmp(opts[k].name, name) != 0)
				continue;
			if (opts[k].clear)
				ret->attr_set &= ~opts[k].attr;
			else
				ret->attr_set |= opts[k].attr;
		}
	}
}

const char *spec_path(const struct spec *s)
{
	struct json_object *env = json_at(s->root, "process.env");

	for (size_t i = 0; env && i < json_object_array_length(env); i++) {
		const char *v = json_object_get_string(json_object_array_get_idx(env, i));

		if (!strncmp(v, "PATH=", 5))
			return v + 5;
	}
	return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}
