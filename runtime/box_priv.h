/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of a sandbox process: what box.c (life and end), box_agent.c (gate, agent) and box_cmds.c
 * (what clients may ask for) share. Loop thread only.
 *
 * To add a command of a client: a handler in a file of its own, a line in box_cmds.c's table. A
 * handler answers its request once, now or later, with box_answer() or proxy_reply(). To ask the
 * agent: box_request() with a function that gets the answer; box_pass_on() is one that hands it to
 * the client that asked.
 */
#ifndef HUSK_RUNTIME_BOX_PRIV_H
#define HUSK_RUNTIME_BOX_PRIV_H

#include <sys/signalfd.h>
#include <sys/utsname.h>
#include "mux/link.h"
#include "mux/proxy.h"
#include "runtime/agentlink.h"
#include "runtime/box.h"
#include "runtime/box_pause.h"
#include "runtime/clients.h"
#include "runtime/confine.h"
#include "runtime/forward.h"
#include "runtime/json.h"
#include "runtime/proc.h"
#include "runtime/shim_in.h"
#include "runtime/wants.h"
#include "virtio/devices.h"
#include "vmm/machine.h"

/*
 * A container is built while the gate is closed, as soon as the guest is up: its process then waits
 * in front of its execve for start, and execs in "created" can run. One whose network the spec's
 * sysctls name has to wait for the network, which is there at start: that one is built then.
 */
enum box_prep { BOX_UNMADE, BOX_MAKING, BOX_MADE };

#define BOX_AGENT_S 120 /* from start, or the first exec: a guest that does not come up */
#define BOX_NET_S   90	/* from the gate's opening: the network of the container in the guest */

enum box_phase { BOX_GATED, BOX_STARTING, BOX_RUNNING, BOX_DRAINING, BOX_ENDING };

struct box;

/* A command of a client of our own (PROXY_HUSK). */
struct box_call {
	proxy_client_t client;
	proxy_req_t req;
	struct json_object *o;
};
typedef void box_cmd_fn(struct box *b, const struct box_call *c);

/* What is asked while the container is being made behind the gate waits for that, up to so many. */
#define BOX_LATER_MAX 16u

/* Processes of the container killed for want of memory, and who waits to hear of the next. */
#define BOX_WAITERS 64u
struct box_oom {
	uint64_t kills;
	proxy_req_t req[BOX_WAITERS]; /* 0 = free; used in a ring */
	unsigned next;
};

/* New limits under way: box_update.c. */
#define UPDATE_NO_SLOT (~0u)
struct box_update {
	enum { UPDATE_NONE, UPDATE_ADDING, UPDATE_LIMITING } step;
	proxy_req_t req;
	uint64_t gen;		       /* late answers to an earlier one do not count */
	struct json_object *resources; /* what the agent is to be told */
	uint64_t want, was;	       /* bytes of the VM; 0 = as it is; was: before it grew */
	uint64_t until;		       /* 0 = no limit of time */
	struct loop_timer timer;
	unsigned slot; /* of the memory to add, once it has one */
	bool bound;    /* and the guest's driver has it */
};

struct box {
	const struct sandbox_args *a;
	const struct spec *spec;
	struct utsname host; /* of the container's birth, as a new UTS namespace would have it */
	struct box_fds fds;
	struct report *report;
	struct state *state;

	struct loop *loop;
	struct machine *machine;
	struct agentlink *al;
	struct link *link; /* al's */
	struct clients *clients;
	struct shim_in shims;  /* stdin of its clients' processes */
	struct p9_pool *files; /* threads that keep the capabilities for files */
	struct err files_err;  /* of the first one's confinement; it is there before the guest */

	struct box_net *net; /* box_net.c */
	unsigned nics_max;   /* that leave room for disks and the rest */
	struct forwards forwards;

	enum box_phase phase;
	enum box_prep prep;
	bool want_prep;	 /* once the agent is up */
	bool execs_late; /* no longer waited for at the end */
	int status;	 /* to exit with */
	bool started_vm; /* there are vCPU threads */
	bool dead;	 /* the VM has ended */
	bool killed;	 /* SIGKILL has been asked for, */
	bool unread;	 /* and readers that had stopped are given up, */
	bool deaf;	 /* and the guest has not obeyed */
	char why_dead[512];

	proxy_req_t start_req; /* 0 = nobody has called start */
	bool start_waits;      /* until the process has been executed */
	int root_fd;
	struct virtio_dev *disk[DISKS_MAX]; /* until they are plugged */
	unsigned root_slot;		    /* of the root, once it is filled */

	int stdio[3]; /* the engine's descriptors until the first process has them */
	struct procs procs;
	struct proc *init;   /* the container's first; freed at the very end */
	int tty;	     /* sandbox_args.tty_fd, until its end; -1 */
	uint16_t rows, cols; /* of its terminal, as last told */

	struct loop_timer deadline;
	uint64_t deadline_at; /* 0 = none */
	struct loop_op sig_op;
	struct signalfd_siginfo sig;
	struct loop_work after_start;

	struct box_pause pause;
	struct box_oom oom;
	struct box_update update;

	struct box_call later[BOX_LATER_MAX];
	unsigned later_cnt;

	struct wants wants; /* of the agent */
};

extern const struct link_ops box_link_ops;
extern const struct proxy_ops box_proxy_ops;

/* Commands: the handlers of box_cmds.c's table. */
box_cmd_fn box_cmd_start, box_cmd_kill, box_cmd_exec, box_cmd_signal, box_cmd_winsize;
box_cmd_fn box_cmd_pause, box_cmd_resume;			  /* box_pause.c */
box_cmd_fn box_cmd_ps, box_cmd_pids, box_cmd_stats, box_cmd_wait; /* box_ops.c */
box_cmd_fn box_cmd_update;					  /* box_update.c */

/*
 * For handlers, while the container is being made behind the gate: true, and the command will come
 * again when that is done or has failed.
 */
bool box_defer(struct box *b, const struct box_call *c);
void box_go_on(struct box *b);

/* The container's process is over, or will never be: drain, publish, stop. Once. */
void box_end(struct box *b, int status);
void box_maybe_end(struct box *b);
/* Writes state.json. */
void box_publish(struct box *b, enum state_status status);
/* machine_config.memory_changed */
void box_memory_changed(void *ctx);
/* loop_work: what is done once start has been answered. */
void box_after_start(struct loop_work *w);
/* The container runs: memory that it frees goes back to the host from now on. */
void box_add_balloon(struct box *b);
/* The agent says how many processes have been killed for want of memory. */
void box_oom_killed(struct box *b, uint64_t kills);
void box_deadline(struct box *b, uint64_t in_ns);
void box_signal(struct box *b, int signo, bool all, proxy_req_t req);

/*
 * Sends a request to the agent. Its answer goes to @fn with @arg: a number, because what a pointer
 * leads to may be gone by then (a request of a client, the base of a process). 0, and @fn will be
 * called; or -errno, and it will not.
 */
int box_request(struct box *b, uint32_t cmd, const char *json, box_reply_fn *fn, uint64_t arg);
/* The same, with a longer limit of time, or with what it leaves behind when it comes too late. */
int box_ask(struct box *b, const struct wants_ask *ask);
/* As box_request(), for a client's request @req: its answer, or why there is none, goes there. */
void box_relay(struct box *b, uint32_t cmd, const char *json, proxy_req_t req);
void box_pass_on(struct box *b, uint64_t req, const struct box_reply *r); /* a box_reply_fn */
/* The agent will not answer any more: all that wait are told @why. */
void box_give_up(struct box *b, const char *why);
void box_wants_init(struct box *b); /* once there is a loop */
/* Answers a client: @text NULL = fine. No client (0): nothing. */
void box_answer(struct box *b, proxy_req_t req, int status, const char *text);
void box_refuse_start(struct box *b, int status, const char *fmt, ...) PRINTF_LIKE(3, 4);
int box_open_streams(struct box *b, struct err *e) MUST_CHECK;
/*
 * box_net.c: the network. begin() when the host's is to be looked at, up() when the agent takes
 * descriptions of it; each of them more than once is fine. await(), for start: @ready is called, maybe
 * at once, when the guest has what the host has, or with the reason why it cannot have it.
 */
typedef void box_net_ready_fn(struct box *b, const char *why);
int box_net_new(struct box *b, struct err *e) MUST_CHECK; /* while privileged */
unsigned box_net_count(struct box *b);			  /* interfaces; before begin() */
void box_net_begin(struct box *b);
void box_net_up(struct box *b);
void box_net_await(struct box *b, box_net_ready_fn *ready);
void box_net_slot_free(void *ctx);			     /* the machine's: @ctx is the box */
void box_net_question(struct box *b, struct json_object *o); /* the agent's event "dns" */
void box_net_free(struct box *b);
/* box_forward.c: the container runs, and connections to the name space's localhost are the guest's. */
void box_forward(struct box *b);
/* The gate's state machine: `start` of a client. @waits: until the process has been executed. */
void box_start(struct box *b, proxy_req_t req, bool waits);
/* Builds the container behind the closed gate. Execs go once that is done: box_execs_go(). */
void box_prepare(struct box *b);
/* It cannot be built: @why for the execs that wait for it, and for start when it comes. */
void box_prepare_failed(struct box *b, const char *why);

/* box_exec.c: all processes but the first. */
void box_execs_go(struct box *b); /* those that waited for the container */
bool box_execs_alive(const struct box *b);
/* They will never be, or have ended without a word: @why to those that have not begun. */
void box_execs_end(struct box *b, const char *why);
void box_execs_discard(struct box *b); /* their readers are given up */
void box_exec_over(struct box *b, struct proc *p);
void box_client_gone(void *ctx, proxy_client_t client);
bool box_resize(struct box *b); /* box.c: the first process's */
void box_winsize(struct box *b, const struct proc *p, int64_t rows, int64_t cols, proxy_req_t req);

#endif
