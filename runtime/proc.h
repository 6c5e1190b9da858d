/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process of the guest as the sandbox process has it: its streams between the link and the host's
 * descriptors, and the order of its end. The container's first process is one, each exec another.
 *
 *            proc_open()          proc_started()             proc_end()
 *   NEW ------------------> ASKED --------------> RUNNING ---------------> DRAINING --> OVER
 *                             |  EXIT came first                  ^ EXIT, the VM's end
 *                             +-----------------------------------+
 *
 * OVER is told (procs_ops.over) when the last byte of output is in its descriptor and the
 * descriptors are closed: only then may the status be published or told to anybody, and only then
 * may a stand-in exit. Whoever is told frees the process.
 *
 * A stream that the process closes early is closed here as soon as all of it is written. One that a
 * reader does not read stalls itself alone. With a terminal there are only `in` and `out`, mostly
 * two descriptors of one pty, both on the stream `base`.
 *
 * Loop thread.
 */
#ifndef HUSK_RUNTIME_PROC_H
#define HUSK_RUNTIME_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/compiler.h"
#include "base/list.h"
#include "base/loop.h"
#include "mux/link.h"
#include "mux/proxy.h"
#include "runtime/stdio.h"

#define PROCS_MAX (LINK_STREAMS_MAX / 2) /* of one sandbox; each has two streams */

struct json_object;
struct proc;

struct procs_ops {
	/* Posted, so that @p may be freed inside: once for each that got to proc_end(). */
	void (*over)(void *ctx, struct proc *p);
	/* There is output for the link. */
	void (*flush)(void *ctx);
};

/* All processes of a sandbox, and what they share. */
struct procs {
	struct loop *loop;
	struct link *link; /* may come later than processes, before proc_open() */
	int proc_fd;	   /* a directory /proc/self/fd; its owner's */
	const struct procs_ops *ops;
	void *ctx;
	struct list list;
	size_t cnt;
};

struct proc_out {
	struct proc *p;
	struct sink *sink; /* NULL = closed, or none */
	bool eof;	   /* the process has closed it */
	size_t said;	   /* of what waits in the sink: ours, not the process's */
};

struct proc {
	struct list node;
	struct procs *all;
	uint64_t base; /* of its streams; 0 until proc_open() */
	bool tty;
	proxy_client_t client;	     /* its stand-in's connection; 0 = the sandbox process itself */
	proxy_req_t req;	     /* of its owner's: who waits for its start; 0 = nobody */
	pid_t standin;		     /* as its client says; 0 = unknown */
	struct json_object *process; /* of an exec that has not been sent to the agent yet */
	bool started, exited, ended, over;
	bool unsure; /* whether it has been executed: its outputs stay open for the reason */
	int status;  /* once exited or ended */
	struct source *in;
	struct proc_out out, err;
	struct loop_work reap;
};

void procs_init(struct procs *all, struct loop *loop, int proc_fd, const struct procs_ops *ops,
		void *ctx);
/* Frees all that is left, without a word. Zeroed memory is fine, too. */
void procs_free(struct procs *all);

/*
 * A process with these descriptors, which are its own from here on whatever happens (they become
 * -1); with @tty there is no third. NULL when out of memory or of places.
 */
struct proc *proc_new(struct procs *all, int fds[3], bool tty);
/* Opens its streams in the link: before the request that makes it in the guest. 0 or -errno. */
int proc_open(struct proc *p, uint64_t base) MUST_CHECK;
/* The agent has acknowledged it: input flows. If it has ended already, that begins. */
void proc_started(struct proc *p);
/* It is over, or never will be: no more input, output is drained, then ops->over. Once. */
void proc_end(struct proc *p, int status);
/* A line of ours where its errors go, while `unsure`; and the end of that. */
void proc_say(struct proc *p, const char *text);
void proc_sure(struct proc *p);
/* What is not written yet is not going to be: its readers are given up. */
void proc_discard(struct proc *p);
bool proc_is_drained(const struct proc *p); /* nothing waits for a reader */
/* Closes what is open. It is told nobody. NULL is fine. */
void proc_free(struct proc *p);

/* The process of this base, or NULL. */
struct proc *proc_find(const struct procs *all, uint64_t base);
struct proc *proc_of_client(const struct procs *all, proxy_client_t client);

/*
 * For link_ops of the same names: true when the stream is one of a process here. exited() sets
 * status and `exited`, and begins the end of a process that has been started.
 */
bool procs_data(struct procs *all, uint64_t stream, const void *buf, size_t len);
bool procs_eof(struct procs *all, uint64_t stream);
bool procs_closed(struct procs *all, uint64_t stream);
bool procs_writable(struct procs *all, uint64_t stream);
bool procs_exited(struct procs *all, uint64_t stream, uint32_t status);

#endif
