/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a sandbox process after its birth: machine, agent, gate, streams, signals, end.
 */
#ifndef HUSK_RUNTIME_BOX_H
#define HUSK_RUNTIME_BOX_H

#include "base/err.h"
#include "base/loop.h"
#include "runtime/forward.h"
#include "runtime/sandbox.h"

struct box;

struct box_fds {
	int kvm, proc; /* /dev/kvm; /proc/self/fd */
	int tun, dev;  /* O_PATH: /dev/net/tun, -1 = not there; /dev for macvtap, else -1 */
	int own;       /* netown_load(), else -1 */
	int forward[FORWARD_FDS]; /* forward_listen() */
	int listen;		  /* the client socket */
	int state_dir;
	int signals; /* signalfd */
};

/* The loop, while privileged: where io_uring is restricted, CAP_SYS_ADMIN decides. */
int box_new(struct box **ret, const struct sandbox_args *a, const struct box_fds *fds,
	    struct err *e) MUST_CHECK;
/* Machine, devices, vCPU threads: the guest boots. */
int box_boot(struct box *b, struct err *e) MUST_CHECK;
/* Until the end. Returns the exit status; the status is published, the descriptors are closed. */
int box_run(struct box *b);
void box_free(struct box *b); /* NULL is fine */

#endif
