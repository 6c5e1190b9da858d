/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the agent's files share: one struct agent, one thread, one epoll loop. The agent never
 * blocks on anything that a container or the host can hold up: whatever may wait (mounting, reading
 * /proc of a container's process, giving a device back) happens in a forked child that reports
 * through a pipe.
 */
#ifndef HUSK_AGENT_AGENT_H
#define HUSK_AGENT_AGENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/list.h"
#include "mux/link.h"

#define AGENT_ROOT_DIR	 "/run/husk/root"      /* where a builder mounts its container's root */
#define AGENT_CGROUP_TOP "/sys/fs/cgroup/husk" /* containers are below it */

struct agent;
struct json_object;

/* A descriptor in the loop. @fd -1 = not in it. The callback may delete and free any ev. */
struct ev {
	int fd;
	void (*fn)(struct ev *ev, uint32_t events);
};

struct port {
	struct ev ev;
	int fd;		/* -1 = gone */
	bool ready_out; /* worth a write */
	bool more_in;	/* the last turn stopped before the port was empty */
	bool seen;	/* the host has been there */
};

struct agent {
	int epoll_fd;
	bool guest;	 /* PID 1 of a real guest, not of a test's name space */
	bool stop;	 /* leave the loop; the machine is powered off */
	bool destroying; /* DESTROYPOD: stop once its reply is out */
	bool broken;	 /* the link is gone: what was sent stays unsent */
	bool started;	 /* STARTPOD came */
	struct link *link;
	struct port ctl, io;
	struct ev child_ev; /* signalfd of SIGCHLD */
	struct list containers;
	struct list procs;
	struct list ended; /* processes to be freed at the end of the turn */
	struct list jobs;
	struct list dials; /* dial.h */
	struct ev **batch; /* events of the current turn, not delivered yet */
	int batch_cnt;
	struct json_object *net; /* the last SETUPINTERFACE; NULL = none yet */
	char why[256];		 /* why it stopped, for the console; empty = asked to */
};

/* loop.c. Level-triggered unless @events has EPOLLET. 0 or -errno. */
int ev_add(struct agent *a, struct ev *ev, int fd, uint32_t events) MUST_CHECK;
void ev_mod(struct agent *a, struct ev *ev, uint32_t events);
void ev_del(struct agent *a, struct ev *ev); /* does not close. Not added: nothing happens */
int agent_loop(struct agent *a);	     /* until a->stop; 0 or -errno */
void agent_stop(struct agent *a, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* link_io.c */
int link_io_start(struct agent *a, int ctl_fd, int io_fd) MUST_CHECK;
/* Moves what can be moved in both directions. Returns true when there is more to do at once. */
bool link_io_turn(struct agent *a);

/* calls.c */
void calls_request(void *ctx, uint32_t id, uint32_t cmd, const char *json, size_t len);
void calls_reply_ok(struct agent *a, uint32_t id, const char *json);
void calls_reply_err(struct agent *a, uint32_t id, const struct err *e, int status);
/* @built: there was a container, only its process could not be executed. */
void calls_reply_fail(struct agent *a, uint32_t id, const struct err *e, int status, bool built);

/* boot.c: what PID 1 does before it serves */
int boot_mounts(struct agent *a, struct err *e) MUST_CHECK;
void boot_sysctls(void);
void boot_cpus(void);
int boot_find_ports(int *ret_ctl, int *ret_io, struct err *e) MUST_CHECK;
int boot_cgroups(struct err *e) MUST_CHECK;
void boot_mark_init(void);
/* The same for Firecracker. 0 or negative with @e: no /dev/mem, or memory lies where the timer would. */
int boot_timer(struct err *e) MUST_CHECK;
int boot_lo_up(void);

/* Writes @text to the file at @path of a guest's own (trusted) tree. 0 or -errno. */
int write_text(const char *path, const char *text) MUST_CHECK;

#endif
