/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stdin of processes whose shim is a client of the proxy: what the link does not take waits here,
 * and the proxy passes no more on until it has gone. So there is at most one piece of 64 KiB for each
 * process, and a process that does not read its stdin stalls its own shim and nobody else.
 *
 * Loop thread. The calls are those of struct proxy_ops and struct link_ops with the same names.
 */
#ifndef HUSK_RUNTIME_SHIM_IN_H
#define HUSK_RUNTIME_SHIM_IN_H

#include "base/list.h"
#include "mux/link.h"
#include "mux/proxy.h"

struct shim_in {
	struct link *link;
	struct proxy *proxy;
	struct list waiting;
};

/* @l and @p outlive it. */
void shim_in_init(struct shim_in *s, struct link *l, struct proxy *p);
void shim_in_end(struct shim_in *s); /* forgets everything; zeroed memory is fine, too */

/* proxy_ops.shim_stdin(). Takes all of it; @len 0 is the end. */
void shim_in_stdin(struct shim_in *s, uint64_t base, const void *buf, size_t len);
/* link_ops.writable() */
void shim_in_writable(struct shim_in *s, uint64_t base);
/* link_ops.closed(): the process takes no more of it. */
void shim_in_closed(struct shim_in *s, uint64_t base);
/* The process is over. */
void shim_in_over(struct shim_in *s, uint64_t base);

#endif
