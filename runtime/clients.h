/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox process's unix socket on the loop: connections in front of struct proxy. Loop thread.
 */
#ifndef HUSK_RUNTIME_CLIENTS_H
#define HUSK_RUNTIME_CLIENTS_H

#include "base/err.h"
#include "base/loop.h"
#include "mux/proxy.h"

struct clients;

/* Binds STATE_SOCK in the state directory @dir and listens. The descriptor, or a negative errno. */
int clients_listen(int dir, struct err *e) MUST_CHECK;
/* Serves @listen_fd (owned from now on). @ops are the proxy's; @ops and @ctx outlive it. */
int clients_new(struct clients **ret, struct loop *l, int listen_fd, const char *id,
		const struct proxy_ops *ops, void *ctx, struct err *e) MUST_CHECK;
/* What proxy_ops.output has to do, and what proxy_ops.random can be. */
void clients_wake(struct clients *c);
void clients_random(void *ctx, void *buf, size_t len);
struct proxy *clients_proxy(struct clients *c);
/* @gone is told of each connection that has ended, after its handle has become stale. */
void clients_on_gone(struct clients *c, void (*gone)(void *ctx, proxy_client_t client), void *ctx);
/*
 * Inside of proxy_ops.husk: the descriptors that came with the command, at most @max, the caller's
 * from here on; others that came with it are closed. Returns how many. A connection keeps at most
 * FD_PASS_MAX that nobody has taken.
 */
unsigned clients_take_fds(struct clients *c, proxy_client_t client, int *fds, unsigned max);
/* Closes all connections after a last attempt to write what waits. NULL is fine. */
void clients_free(struct clients *c);

#endif
