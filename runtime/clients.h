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
/* Closes all connections after a last attempt to write what waits. NULL is fine. */
void clients_free(struct clients *c);

#endif
