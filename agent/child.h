/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The child between clone and execve: it builds its container, or joins one, takes on the process's
 * settings and executes. It has a copy of the agent's memory and may block; it never returns.
 *
 * What it trusts: the agent's own mounts, until it pivots. Below the container's root nothing is
 * opened but with RESOLVE_IN_ROOT, and what was opened is operated on by descriptor.
 */
#ifndef HUSK_AGENT_CHILD_H
#define HUSK_AGENT_CHILD_H

#include <sys/types.h>

#include "agent/container.h"

struct child {
	struct container *c; /* the child's copy */
	const struct spec_process *p;
	bool init;
	bool hold;	    /* wait for 'G' in front of the execve */
	int sock;	    /* setup socket */
	int stdio[3];	    /* -1 with a terminal */
	int join_fd;	    /* exec: pidfd of the container's first process */
	int ipc_fd, uts_fd; /* init: pidfds whose name spaces it joins, -1 */
	/* userns.c: the process in the new user name space; 0 and -1 without one */
	pid_t helper;
	int helper_sock, user_fd;
};

void child_main(struct child *ch) NORETURN;
void signals_restore(void); /* as a fresh process has them */

/* rootfs.c: in the child's new mount name space, before the pivot. */
int rootfs_build(struct container *c, struct err *e) MUST_CHECK;
int rootfs_pivot(const struct container *c, struct err *e) MUST_CHECK;
/* Any child: gives a slot that the host has filled to its driver. Bound already: fine. */
int device_bind(const char *name, struct err *e) MUST_CHECK;

/* jail.c: paths below a directory that may hold anything. 0 or a descriptor, or -errno. */
int jail_open(int root, const char *path, int flags) MUST_CHECK; /* O_CLOEXEC added */
/* Makes what is missing: directories with @mode, and the last component as a file if @file. O_PATH.
 */
int jail_make(int root, const char *path, mode_t mode, bool file) MUST_CHECK;
/* Opens (making it) the directory of @path; *ret_name is the last component within @path. */
int jail_parent(int root, const char *path, const char **ret_name) MUST_CHECK;
int mount_move(int mnt_fd, int target_fd) MUST_CHECK;
/* Attaches a copy of the mounts at @from_fd to @target_fd. */
int mount_clone(int from_fd, bool recursive) MUST_CHECK;
int mount_attr(int fd, bool recursive, uint64_t set, uint64_t clr,
	       unsigned long propagation) MUST_CHECK;

/* mounts.c */
int mounts_hold(int root, const struct spec *s, int **ret_fds, struct err *e) MUST_CHECK;
int mounts_make(int root, const struct spec *s, const int *held, struct err *e) MUST_CHECK;

/* devices.c */
int devices_make(int root, const struct container *c, struct err *e) MUST_CHECK;
/* The cgroup's filter: what the rules and the disks allow. */
int devices_filter(const struct container *c, struct err *e) MUST_CHECK;

/* cgroup.c: by name of the container. Agent and jobs. */
int cgrp_create(const char *id, const struct spec *s, struct err *e) MUST_CHECK;
int cgrp_open(const char *id, pid_t pid) MUST_CHECK; /* descriptor for CLONE_INTO_CGROUP */
int cgrp_kill(const char *id, int sig);		     /* every process */
int cgrp_pids(const char *id, pid_t **ret, size_t *ret_cnt) MUST_CHECK;
int cgrp_remove(const char *id, int timeout_ms, struct err *e) MUST_CHECK; /* may wait */
/* Waits until all of it is frozen: -EBUSY. Thawing waits for nothing. */
int cgrp_freeze(const char *id, bool on, int timeout_ms);
/*
 * Changes limits of the cgroup @dir, all of them or none; the sentence names the file. For a job,
 * because the kernel may take its time over one.
 */
int cgrp_apply(int dir, const struct spec_writes *w, struct err *e) MUST_CHECK;

/* starthook.c: hooks.startContainer, in the finished container, as its root. */
int starthooks_run(const struct container *c, struct err *e) MUST_CHECK;

/* cred.c: limits, groups, user, capabilities. CAP_SYS_ADMIN stays until cred_finish(). */
int cred_limits(const struct spec_process *p, struct err *e) MUST_CHECK; /* before the user ns */
int cred_begin(const struct spec_process *p, struct err *e) MUST_CHECK;
int cred_finish(const struct spec_process *p) MUST_CHECK;

/* exec.c: what is to be executed, as the container sees it. Errors have runc's words. */
/* 0 and a path in @out, or -errno with the exit status for the caller in *ret_status. */
int exec_lookup(const char *name, const char *const *env, char *out, size_t cap, int *ret_status,
		struct err *e) MUST_CHECK;
const char *exec_env(const char *const *env, const char *name); /* NULL if not set */
int exec_home(uid_t uid, char *out, size_t cap) MUST_CHECK;	/* from /etc/passwd, else "/" */

#endif
