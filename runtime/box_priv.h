/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of a sandbox process: what box.c (life and end) and box_agent.c (agent, streams, clients)
 * share. Loop thread only.
 */
#ifndef HUSK_RUNTIME_BOX_PRIV_H
#define HUSK_RUNTIME_BOX_PRIV_H

#include <sys/signalfd.h>
#include "mux/link.h"
#include "mux/proxy.h"
#include "runtime/agentlink.h"
#include "runtime/box.h"
#include "runtime/clients.h"
#include "runtime/confine.h"
#include "runtime/shim_in.h"
#include "runtime/stdio.h"
#include "virtio/devices.h"
#include "vmm/machine.h"

enum box_phase { BOX_GATED, BOX_STARTING, BOX_RUNNING, BOX_DRAINING, BOX_ENDING };

/* What a request to the agent is for. */
enum want { WANT_STARTPOD, WANT_NEWCONTAINER, WANT_KILL, WANT_DESTROY, WANT_CLIENT };

struct box_want {
	uint32_t id;
	enum want what;
	proxy_req_t req; /* whom to tell; 0 = nobody */
};

struct box {
	const struct sandbox_args *a;
	const struct spec *spec;
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

	enum box_phase phase;
	int status;	 /* to exit with */
	bool started_vm; /* there are vCPU threads */
	bool dead;	 /* the VM has ended */
	bool killed;	 /* SIGKILL has been asked for */
	bool exited;	 /* EXIT came before the ACK of NEWCONTAINER */
	int exited_status;
	char why_dead[512];

	proxy_req_t start_req; /* 0 = nobody has called start */
	uint64_t base;	       /* the process's streams */
	int root_fd;

	int stdio[3]; /* the engine's descriptors until a source or sink owns them */
	struct source *in;
	struct sink *out, *err;
	bool out_eof, err_eof; /* the container has closed it */
	struct loop_work reap;

	struct loop_timer deadline;
	uint64_t deadline_at; /* 0 = none */
	struct loop_op sig_op;
	struct signalfd_siginfo sig;

	struct box_want *wants;
	size_t want_cnt, want_cap;
};

extern const struct link_ops box_link_ops;
extern const struct proxy_ops box_proxy_ops;

/* The container's process is over, or will never be: drain, publish, stop. Once. */
void box_end(struct box *b, int status);
void box_maybe_end(struct box *b);
void box_deadline(struct box *b, uint64_t in_ns);
void box_signal(struct box *b, int signo, bool all, proxy_req_t req);

/* Sends a request to the agent; its answer is dealt with by @what. 0 or -errno. */
int box_request(struct box *b, uint32_t cmd, const char *json, enum want what, proxy_req_t req);
/* Answers a client: @text NULL = fine. No client (0): nothing. */
void box_answer(struct box *b, proxy_req_t req, int status, const char *text);
void box_refuse_start(struct box *b, int status, const char *fmt, ...) PRINTF_LIKE(3, 4);
void box_reap_sinks(struct box *b);
int box_open_streams(struct box *b, struct err *e) MUST_CHECK;

#endif
