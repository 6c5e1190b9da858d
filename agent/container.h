/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Containers and their processes as the agent sees them: who is alive, who waits for an answer. All
 * on the loop thread. A container's first process ends the container; processes of EXECCMD are
 * members.
 */
#ifndef HUSK_AGENT_CONTAINER_H
#define HUSK_AGENT_CONTAINER_H

#include <linux/filter.h>

#include "agent/agent.h"
#include "agent/spec.h"
#include "agent/streams.h"

#define CONTAINER_ID_MAX 255

/* Where a container's root comes from. Exactly one of @device and @path. */
struct root_source {
	const char *device; /* "d0000000.virtio_mmio": bound to its driver first */
	const char *tag;    /* of the 9p device */
	const char *fstype; /* "9p" when absent; else the device is a disk with this on it */
	const char *path;   /* a directory of the guest, in place of a device */
};

/* A disk of the host that is in linux.devices. */
struct disk_source {
	const char *device; /* as of a root */
	const char *path;   /* of the node */
	unsigned access;    /* BPF_DEVCG_ACC_* */
	dev_t dev;	    /* in the guest; found by the child */
};

struct container {
	struct list node;
	struct agent *a;
	char id[CONTAINER_ID_MAX + 1];
	struct json_object *request; /* owns every string of spec and root */
	struct spec spec;
	struct root_source root;
	bool root_ro;
	struct disk_source *disks;
	size_t disks_cnt;
	const char *bundle; /* on the host, for hooks; "" */
	struct sock_filter *filter;
	size_t filter_len; /* instructions */
	struct proc *init; /* NULL once its exit has been reported */
	pid_t init_pid;	   /* 0 = has ended */
	bool running;	   /* has been executed */
	struct ev oom;	   /* memory.events of its cgroup; not there without that controller */
	uint64_t oom_kills;
	bool held; /* its process waits in front of its execve for STARTCONTAINER */
};

struct proc {
	struct list node;
	struct agent *a;
	struct container *c; /* NULL: the container has been removed */
	bool is_init;
	struct json_object *request; /* of EXECCMD; owns the strings of spec */
	struct spec_process spec;
	pid_t pid;	 /* 0 = reaped */
	uint32_t req;	 /* request to be answered, 0 = has been */
	struct ev setup; /* socket to the child until it has executed */
	bool hold;	 /* the child waits in front of its execve */
	bool went;	 /* that one has got the word: its end is the container's */
	bool built;	 /* the container was there: what fails now is the process alone */
	bool execing;	 /* the child was ready to */
	bool failed;
	struct err error;
	int error_status;
	int status; /* once reaped: code or 128 + signal */
	bool exit_sent;
	struct streams streams;
};

/* What a builder tells its agent: one message each; a terminal's master travels with 'T'. */
struct setup_msg {
	char kind; /* 'T', 'B' (is built), 'H' (and held), 'X' (will execute now), 'E' */
	int status;
	char text[1000];
};

/* Requests. They answer by themselves, now or later. */
void container_new(struct agent *a, uint32_t req, struct json_object *o);
void container_start(struct agent *a, uint32_t req, struct json_object *o);
void container_exec(struct agent *a, uint32_t req, struct json_object *o);
void container_kill(struct agent *a, uint32_t req, struct json_object *o);
void container_winsize(struct agent *a, uint32_t req, struct json_object *o);
void container_ps(struct agent *a, uint32_t req, struct json_object *o);
void container_remove(struct agent *a, uint32_t req, struct json_object *o);
/* ops.c */
void container_pause(struct agent *a, uint32_t req, struct json_object *o);
void container_resume(struct agent *a, uint32_t req, struct json_object *o);
void container_update(struct agent *a, uint32_t req, struct json_object *o);
void container_stats(struct agent *a, uint32_t req, struct json_object *o);
/* Tells the host when processes have been killed for want of memory. */
void container_oom_watch(struct container *c);
void container_oom_check(struct container *c);
void container_oom_forget(struct container *c);

/* The container that a request names, or NULL after an error was sent. */
struct container *container_named(struct agent *a, uint32_t req, struct json_object *o,
				  bool must_run);

struct container *container_find(struct agent *a, const char *id);
bool container_id_ok(const char *id);
void container_reap(struct agent *a);	 /* SIGCHLD */
void container_turn(struct agent *a);	 /* end of a loop turn: frees what has ended */
void container_end_all(struct agent *a); /* kills what lives and waits for it */

/* proc.c */
struct proc *proc_by_stream(struct agent *a, uint64_t stream);
/* Starts a process: the first (@c->init is NULL) or another. Owns @p in every case. */
int proc_start(struct proc *p, struct err *e) MUST_CHECK;
struct proc *proc_new(struct container *c, uint64_t base, uint32_t req, struct err *e);
/* Lets a held process go on; @req is answered when it has been executed. 0 or -errno. */
int proc_go(struct proc *p, uint32_t req) MUST_CHECK;
void proc_progress(struct proc *p); /* sends EXIT when it is due */
void proc_reaped(struct proc *p, int wait_status);
void proc_free(struct proc *p);
int proc_wait_status(int wait_status); /* code, or 128 + signal */

/* job.c: something that may wait, in a child of the agent's own. */
typedef int (*job_fn)(void *arg, struct json_object *reply, struct err *e);
/* @fn runs in the child; its reply, or its error, answers @req. */
int job_start(struct agent *a, uint32_t req, job_fn fn, void *arg, struct err *e) MUST_CHECK;

#endif
