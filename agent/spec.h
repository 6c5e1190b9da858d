/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's half of an OCI config.json (runtime-spec 1.x, config.md and config-linux.md) as C
 * structures, checked before anything is made. Pure: parsing touches no file.
 *
 * What belongs to the host is not read here, because the sandbox process has dealt with it:
 * ociVersion, hooks but startContainer, vm, linux.cgroupsPath, intelRdt, netDevices,
 * mountLabel, process.apparmorProfile, selinuxLabel, network name spaces, and of resources:
 * cpu.cpus and cpu.mems (host numbers), blockIO, network, rdma. What the guest would have to do and
 * cannot is refused by name.
 *
 * Strings point into the JSON, which the struct spec keeps.
 */
#ifndef HUSK_AGENT_SPEC_H
#define HUSK_AGENT_SPEC_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "agent/js.h"
#include "base/mountopt.h"

enum caps_set {
	CAPS_BOUNDING,
	CAPS_EFFECTIVE,
	CAPS_PERMITTED,
	CAPS_INHERITABLE,
	CAPS_AMBIENT,
	CAPS_SETS
};

struct spec_rlimit {
	int res;
	uint64_t soft, hard;
};

struct spec_sched {
	bool set;
	uint32_t policy;
	int32_t nice;
	uint32_t prio;
	uint64_t flags, runtime, deadline, period;
};

/* execCPUAffinity: processors of the guest. */
struct spec_cpus {
	bool set;
	cpu_set_t cpus;
};

struct spec_process {
	bool terminal;
	uint16_t rows, cols; /* 0 = not given */
	const char *cwd;
	const char **args; /* NULL-terminated, at least one */
	const char **env;
	uid_t uid;
	gid_t gid;
	gid_t *groups;
	size_t groups_cnt;
	bool has_umask;
	mode_t umask;
	bool has_caps;
	uint64_t caps[CAPS_SETS];
	bool no_new_privs;
	bool has_oom;
	int oom_score_adj;
	struct spec_rlimit rlimits[RLIM_NLIMITS];
	size_t rlimits_cnt;
	int ioprio; /* -1 = not given, else for ioprio_set(2) */
	struct spec_sched sched;
	struct spec_cpus cpus;
};

struct spec_mount {
	const char *dest; /* begins with / */
	const char *type; /* never NULL; "bind" for bind mounts */
	const char *source;
	struct mountopt opt;
	bool repeat; /* a part of the 9p tree, not a file system of the guest */
};

struct spec_device {
	const char *path;
	mode_t mode; /* with the type's bits */
	unsigned major, minor;
	uid_t uid;
	gid_t gid;
};

struct spec_devrule {
	bool allow;
	char type;	      /* a b c */
	int64_t major, minor; /* -1 = any */
	unsigned access;      /* BPF_DEVCG_ACC_* */
};

/* A user name space's mapping, of users or of groups. */
struct spec_ids {
	struct spec_id {
		uint32_t inside, outside, size;
	} * v;
	size_t cnt;
};

struct spec_offset {
	int64_t secs;
	uint32_t nsecs;
};

/* hooks.startContainer: programs of the container. */
struct spec_hook {
	const char *path;
	const char **args; /* NULL-terminated; empty: the path alone */
	const char **env;
	bool has_env;
	uint64_t timeout; /* seconds, 0 = none */
};

struct spec_write {
	char *file; /* of the cgroup, or a path below /proc/sys */
	char *value;
};
struct spec_writes {
	struct spec_write *v;
	size_t cnt;
};

struct spec {
	struct json_object *json;
	struct spec_process process;
	bool has_process;
	struct spec_mount *mounts;
	size_t mounts_cnt;
	const char *hostname, *domainname;
	bool readonly_root;
	int clone_flags; /* CLONE_NEWPID, NEWIPC, NEWUTS, NEWNS, NEWCGROUP, NEWUSER: new ones */
	bool new_time;
	struct spec_offset monotonic, boottime;
	struct spec_ids uids, gids; /* empty without CLONE_NEWUSER */
	struct spec_hook *hooks;    /* startContainer */
	size_t hooks_cnt;
	const char *join_pid, *join_ipc, *join_uts; /* containers of this pod; NULL */
	unsigned long propagation; /* MS_SHARED and friends, with MS_REC; 0 = not given */
	const char **masked, **readonly;
	struct spec_device *devices;
	size_t devices_cnt;
	struct spec_devrule *devrules;
	size_t devrules_cnt;
	struct spec_writes sysctls, cgroup;
	bool has_seccomp;
	unsigned seccomp_flags; /* SECCOMP_FILTER_FLAG_* */
	unsigned long personality;
	bool has_personality;
};

/* Takes a reference to @json. Free with gspec_free() also after a failure. */
int gspec_parse(struct json_object *json, struct spec *s, struct err *e) MUST_CHECK;
void gspec_free(struct spec *s);
/* A process of its own (EXECCMD); its strings stay @json's. */
int gspec_parse_process(struct json_object *json, struct spec_process *p, struct err *e) MUST_CHECK;
void gspec_free_process(struct spec_process *p);

/* spec_linux.c and spec_res.c: parts of gspec_parse() */
int gspec_parse_linux(struct json_object *lin, struct spec *s, struct err *e) MUST_CHECK;
int gspec_parse_resources(struct json_object *res, struct spec *s, struct err *e) MUST_CHECK;
/* "rwm" as BPF_DEVCG_ACC_* */
int gspec_parse_access(const char *s, unsigned *ret, struct err *e) MUST_CHECK;
int gspec_writes_add(struct spec_writes *w, const char *file, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* RLIMIT_*. -1 = unknown. */
int rlimit_number(const char *name);

#endif
