/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections that somebody on the host makes to the network name space's own addresses, as CRI engines
 * do to forward a port: they dial localhost in it, where nobody listens for the guest. The program on lo
 * (netown.h) gives them to sockets of ours; each is accepted, the agent is asked to dial the same
 * address and port in the guest, and bytes go to and fro on a stream of the link, each direction with
 * its own end. Where the guest refuses, the connection is closed without a byte.
 *
 *   ACCEPTED --dial()--> DIALLING --forwards_dialled(ok)--> OPEN --both directions ended--> gone
 *
 * Loop thread.
 */
#ifndef HUSK_RUNTIME_FORWARD_H
#define HUSK_RUNTIME_FORWARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/compiler.h"
#include "base/list.h"
#include "base/loop.h"
#include "mux/link.h"

#define FORWARDS_MAX 128u /* connections at a time; what comes beyond them is closed */
#define FORWARD_FDS  2u	  /* sockets that listen: IPv4, IPv6 */

struct forwards_ops {
	uint64_t (*next_base)(void *ctx); /* a stream number of the link */
	/* Asks the agent; its answer goes to forwards_dialled(). 0, or -errno and it will not. */
	int (*dial)(void *ctx, uint64_t base, const char *address, uint16_t port);
	void (*flush)(void *ctx); /* there is output for the link */
};

struct forwards;
struct forward_listener {
	struct forwards *all;
	int fd; /* -1 = none */
	struct loop_op accept;
	struct loop_timer retry;
};

struct forwards {
	struct loop *loop; /* NULL = not begun */
	struct link *link;
	int proc_fd; /* a directory /proc/self/fd; its owner's */
	const struct forwards_ops *ops;
	void *ctx;
	struct list list;
	unsigned cnt;
	bool ending;
	struct forward_listener listener[FORWARD_FDS];
};

/* Sockets that listen at NETOWN_ADDR and ::1, in the caller's name space; -1 for what it does not have. */
void forward_listen(int fds[FORWARD_FDS]);

/*
 * Takes connections from now on. @all keeps @fds, zeroed memory but for these is fine; @l, @proc_fd,
 * @ops and @ctx outlive it.
 */
void forwards_begin(struct forwards *all, struct loop *l, struct link *link, int proc_fd,
		    const struct forwards_ops *ops, void *ctx);
/* Closes everything; steps the loop until the ring has let go. Not begun: nothing. */
void forwards_end(struct forwards *all);

/* The agent's answer about @base, whose connection may be gone by then. */
void forwards_dialled(struct forwards *all, uint64_t base, bool ok);
/* For link_ops of the same names: true when the stream is one of a connection here. */
bool forwards_data(struct forwards *all, uint64_t stream, const void *buf, size_t len);
bool forwards_eof(struct forwards *all, uint64_t stream);
bool forwards_closed(struct forwards *all, uint64_t stream);
bool forwards_writable(struct forwards *all, uint64_t stream);

#endif
