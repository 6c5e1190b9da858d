/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.json: rules of types, rules of what can be done here. What the guest does, and what of it
 * can be done there, the agent checks once more (agent/spec.c). See spec.h.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/capname.h"
#include "base/compiler.h"
#include "base/log.h"
#include "runtime/spec.h"

#define WHAT SPEC_WHAT

/* Parents before children: a wrong parent is named itself. */
static const struct json_rule rules[] = {
    {"ociVersion", JSON_STR, true},
    {"hostname", JSON_STR, false},
    {"domainname", JSON_STR, false},
    {"annotations", JSON_MAP, false},
    {"root", JSON_OBJ, true},
    {"root.path", JSON_STR, true},
    {"root.readonly", JSON_BOOL, false},
    {"process", JSON_OBJ, false}, /* without one, start fails */
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
    {"process.ioPriority", JSON_OBJ, false},
    {"process.ioPriority.class", JSON_STR, true},
    {"process.ioPriority.priority", JSON_I64, false},
    {"process.scheduler", JSON_OBJ, false},
    {"process.scheduler.policy", JSON_STR, true},
    {"process.scheduler.nice", JSON_I64, false},
    {"process.scheduler.priority", JSON_I64, false},
    {"process.scheduler.flags", JSON_STRS, false},
    {"process.scheduler.runtime", JSON_U64, false},
    {"process.scheduler.deadline", JSON_U64, false},
    {"process.scheduler.period", JSON_U64, false},
    {"process.execCPUAffinity", JSON_OBJ, false},
    {"process.execCPUAffinity.initial", JSON_STR, false},
    {"process.execCPUAffinity.final", JSON_STR, false},
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
    {"linux.timeOffsets", JSON_OBJ, false},
    {"linux.timeOffsets.monotonic", JSON_OBJ, false},
    {"linux.timeOffsets.monotonic.secs", JSON_I64, false},
    {"linux.timeOffsets.monotonic.nanosecs", JSON_U32, false},
    {"linux.timeOffsets.boottime", JSON_OBJ, false},
    {"linux.timeOffsets.boottime.secs", JSON_I64, false},
    {"linux.timeOffsets.boottime.nanosecs", JSON_U32, false},
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
    {"linux.resources.memory.kernel", JSON_I64, false},
    {"linux.resources.memory.kernelTCP", JSON_I64, false},
    {"linux.resources.memory.swappiness", JSON_U64, false},
    {"linux.resources.memory.disableOOMKiller", JSON_BOOL, false},
    {"linux.resources.memory.useHierarchy", JSON_BOOL, false},
    {"linux.resources.memory.checkBeforeUpdate", JSON_BOOL, false},
    {"linux.resources.cpu", JSON_OBJ, false},
    {"linux.resources.cpu.shares", JSON_U64, false},
    {"linux.resources.cpu.quota", JSON_I64, false},
    {"linux.resources.cpu.period", JSON_U64, false},
    {"linux.resources.cpu.cpus", JSON_STR, false},
    {"linux.resources.cpu.mems", JSON_STR, false},
    {"linux.resources.cpu.burst", JSON_U64, false},
    {"linux.resources.cpu.idle", JSON_I64, false},
    {"linux.resources.cpu.realtimeRuntime", JSON_I64, false},
    {"linux.resources.cpu.realtimePeriod", JSON_U64, false},
    {"linux.resources.devices", JSON_OBJS, false},
    {"linux.resources.devices[].allow", JSON_BOOL, true},
    {"linux.resources.devices[].type", JSON_STR, false},
    {"linux.resources.devices[].major", JSON_I64, false},
    {"linux.resources.devices[].minor", JSON_I64, false},
    {"linux.resources.devices[].access", JSON_STR, false},
    {"linux.resources.hugepageLimits", JSON_OBJS, false},
    {"linux.resources.hugepageLimits[].pageSize", JSON_STR, true},
    {"linux.resources.hugepageLimits[].limit", JSON_U64, true},
    {"linux.resources.blockIO", JSON_OBJ, false},
    {"linux.resources.network", JSON_OBJ, false},
    {"linux.resources.rdma", JSON_OBJ, false},
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
    {"linux.personality", JSON_OBJ, false},
    {"linux.personality.domain", JSON_STR, true},
    {"linux.personality.flags", JSON_STRS, false},
    {"linux.intelRdt", JSON_OBJ, false},
    {"linux.memoryPolicy", JSON_OBJ, false},
    {"linux.netDevices", JSON_OBJ, false},
    {"vm", JSON_OBJ, false},
    {"vm.hypervisor", JSON_OBJ, false},
    {"vm.kernel", JSON_OBJ, true},
    {"vm.kernel.path", JSON_STR, true},
    {"vm.kernel.parameters", JSON_STRS, false},
    {"vm.kernel.initrd", JSON_STR, false},
    {"vm.image", JSON_OBJ, false},
    {"vm.image.path", JSON_STR, true},
    {"vm.image.format", JSON_STR, false},
    {"vm.hwConfig", JSON_OBJ, false},
    {"vm.hwConfig.deviceTree", JSON_STR, false},
    {"vm.hwConfig.vcpus", JSON_U32, false},
    {"vm.hwConfig.memory", JSON_U64, false},
    {"vm.hwConfig.dtdevs", JSON_STRS, false},
    {"vm.hwConfig.iomems", JSON_OBJS, false},
    {"vm.hwConfig.irqs", JSON_U32S, false},
};

static const char *const hook_names[] = {"prestart",	   "createRuntime", "createContainer",
					 "startContainer", "poststart",	    "poststop"};
static const struct json_rule hook_rules[] = {
    {"path", JSON_STR, true},
    {"args", JSON_STRS, false},
    {"env", JSON_STRS, false},
    {"timeout", JSON_U32, false},
};

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
	static const char *const cap_sets[] = {
	    "process.capabilities.bounding", "process.capabilities.effective",
	    "process.capabilities.inheritable", "process.capabilities.permitted",
	    "process.capabilities.ambient"};
	struct json_object *env = json_at(s->root, "process.env");

	if (!json_at(s->root, "process"))
		return 0;
	if (json_len(s->root, "process.args") == 0)
		return err_set(e, -EINVAL, WHAT ": process.args: empty");
	if (cwd[0] != '/')
		return err_set(e, -EINVAL, WHAT ": process.cwd: '%s' is not absolute", cwd);
	for (size_t k = 0; k < ARRAY_LEN(cap_sets); k++) {
		struct json_object *caps = json_at(s->root, cap_sets[k]);

		/* As runc does: a newer engine may know capabilities that no kernel here has. */
		for (size_t i = 0; caps && i < json_object_array_length(caps); i++) {
			const char *v = json_object_get_string(json_object_array_get_idx(caps, i));

			if (capname_number(v) < 0)
				log_warn(WHAT ": %s: '%s' is unknown and ignored", cap_sets[k], v);
		}
	}
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
		struct mountopt opt;
		int rc;

		if (!json_str(m, "destination", "")[0])
			return err_set(e, -EINVAL, WHAT ": mounts[%zu].destination: empty", i);
		if (is_root(json_str(m, "destination", "")))
			return err_set(e, -EINVAL,
				       WHAT
				       ": mounts[%zu].destination: '%.200s' is the root itself",
				       i, json_str(m, "destination", ""));
		if (spec_mount_kind(m) == SPEC_MOUNT_BIND && !json_str(m, "source", "")[0])
			return err_set(e, -EINVAL,
				       WHAT ": mounts[%zu]: a bind mount without a source", i);
		if (spec_mount_kind(m) == SPEC_MOUNT_HOST && !json_str(m, "type", "")[0])
			return err_set(e, -EINVAL, WHAT ": mounts[%zu]: neither a type nor bind",
				       i);
		rc = spec_mount_options(m, &opt, e);
		if (rc < 0)
			return err_wrap(e, WHAT ": mounts[%zu]", i);
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
	return 0;
}

/* A user namespace has its ids, and nothing else has. */
static int check_ids(const struct spec *s, bool user, bool time, struct err *e)
{
	static const char *const keys[] = {"linux.uidMappings", "linux.gidMappings"};
	struct json_object *offsets = json_at(s->root, "linux.timeOffsets");

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		if (user != (json_len(s->root, keys[i]) > 0))
			return err_set(e, -EINVAL, WHAT ": %s: %s", keys[i],
				       user ? "a user namespace needs them"
					    : "there is no user namespace");
	}
	if (!time && offsets && json_object_object_length(offsets))
		return err_set(e, -EINVAL, WHAT ": linux.timeOffsets: there is no time namespace");
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
	return check_ids(s, seen & (1u << 5), seen & (1u << 7), e);
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

int spec_check_labels(struct json_object *process, const char *what, struct err *e)
{
	/* What engines set by themselves where the host has AppArmor. */
	static const char *const profiles[] = {
	    "unconfined",   "docker-default",	   "cri-containerd.apparmor.d",
	    "crio-default", "containers-default-", "containerd-default",
	};
	const char *profile = json_str(process, "apparmorProfile", "");
	const char *label = json_str(process, "selinuxLabel", "");
	bool known = !profile[0];

	for (size_t i = 0; i < ARRAY_LEN(profiles); i++)
		known |= strncmp(profile, profiles[i], strlen(profiles[i])) == 0;
	if (!known)
		return err_set(e, -ENOTSUP,
			       "%s.apparmorProfile: '%s' cannot be applied: the guest's kernel has "
			       "no AppArmor",
			       what, profile);
	if (profile[0] && strcmp(profile, "unconfined") != 0)
		log_info("%s.apparmorProfile: '%s' is not applied in a VM", what, profile);
	if (label[0])
		log_info("%s.selinuxLabel: '%s' is not applied in a VM", what, label);
	return 0;
}

/* What can be meant and cannot be done is refused; an empty one means nothing. */
static int check_refused(const struct spec *s, struct err *e)
{
	static const struct {
		const char *key, *why;
	} refused[] = {
	    {"linux.intelRdt", "cache and bandwidth classes are the host's"},
	    {"linux.memoryPolicy", "memory nodes are the host's"},
	    {"linux.netDevices", "devices of the host cannot be moved into a VM"},
	    {"linux.resources.rdma", "the guest has no RDMA"},
	};
	static const char no_v2[] = "cgroup v2, which the guest has, knows no such thing";
	static const char *const numbers[] = {
	    "linux.resources.memory.kernel", "linux.resources.memory.kernelTCP",
	    "linux.resources.memory.swappiness", "linux.resources.cpu.realtimeRuntime",
	    "linux.resources.cpu.realtimePeriod"};

	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		struct json_object *o = json_at(s->root, refused[i].key);

		if (o && json_object_object_length(o))
			return err_set(e, -ENOTSUP, WHAT ": %s: not supported: %s", refused[i].key,
				       refused[i].why);
	}
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		if (json_i64(s->root, numbers[i], 0) > 0)
			return err_set(e, -ENOTSUP, WHAT ": %s: not supported: %s", numbers[i],
				       no_v2);
	if (json_flag(s->root, "linux.resources.memory.disableOOMKiller", false))
		return err_set(e, -ENOTSUP,
			       WHAT ": linux.resources.memory.disableOOMKiller: not supported: %s",
			       no_v2);
	return spec_check_labels(json_at(s->root, "process"), WHAT ": process", e);
}

/* The platform section of VMs: what boots, and on how much. */
static int check_vm(struct spec *s, struct err *e)
{
	static const char *const paths[] = {"vm.kernel.path", "vm.kernel.initrd", "vm.image.path"};
	static const struct {
		const char *key, *why;
	} refused[] = {
	    {"vm.hypervisor", "husk is its own hypervisor"},
	    {"vm.hwConfig.deviceTree", "husk describes its machine itself"},
	    {"vm.hwConfig.dtdevs", "devices of the host do not cross"},
	    {"vm.hwConfig.iomems", "memory of the host's devices does not cross"},
	    {"vm.hwConfig.irqs", "interrupts of the host do not cross"},
	};
	struct json_object *vm = json_at(s->root, "vm");
	const char *format = json_str(vm, "image.format", "raw");
	int64_t memory = json_i64(vm, "hwConfig.memory", 0);

	if (!vm)
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(refused); i++)
		if (json_at(s->root, refused[i].key))
			return err_set(e, -ENOTSUP, WHAT ": %s: not supported: %s", refused[i].key,
				       refused[i].why);
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		const char *p = json_str(s->root, paths[i], "/");

		if (p[0] != '/')
			return err_set(e, -EINVAL, WHAT ": %s: '%s' is not absolute", paths[i], p);
	}
	if (strcmp(format, "raw") != 0)
		return err_set(e, -ENOTSUP,
			       WHAT ": vm.image.format: '%s' is not supported, only raw", format);
	if (memory < 0 || memory > (INT64_C(1) << 44))
		return err_set(e, -EINVAL, WHAT ": vm.hwConfig.memory: more than 16 TiB");
	s->vm_kernel = json_str(vm, "kernel.path", NULL);
	s->vm_initrd = json_str(vm, "kernel.initrd", NULL);
	s->vm_image = json_str(vm, "image.path", NULL);
	s->vm_memory = (uint64_t)memory;
	s->vm_cpus = (unsigned)json_i64(vm, "hwConfig.vcpus", 0);
	return 0;
}

int spec_check(struct spec *s, struct err *e)
{
	int rc = json_check(s->root, WHAT, rules, ARRAY_LEN(rules), e);

	rc = rc ? rc : check_version(s, e);
	rc = rc ? rc : check_process(s, e);
	rc = rc ? rc : check_mounts(s, e);
	rc = rc ? rc : check_hooks(s, e);
	rc = rc ? rc : check_namespaces(s, e);
	rc = rc ? rc : check_resources(s, e);
	rc = rc ? rc : check_refused(s, e);
	return rc ? rc : check_vm(s, e);
}
