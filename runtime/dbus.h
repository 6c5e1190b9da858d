/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client of the D-Bus system bus for a short conversation of one thread: connect, call methods one
 * at a time, wait for a signal. For the systemd cgroup driver only (scope.h), because libsystemd has
 * no static library. Blocking, with one deadline for everything.
 */
#ifndef HUSK_RUNTIME_DBUS_H
#define HUSK_RUNTIME_DBUS_H

#include <stdint.h>
#include "base/err.h"
#include "runtime/dbus_wire.h"

#define DBUS_SYSTEM_SOCKET "/run/dbus/system_bus_socket"

struct dbus;

/*
 * Connects to the bus whose socket is @path and says hello. @until_ns: the clock after which
 * everything fails with -ETIMEDOUT. -ENOENT, -ECONNREFUSED: there is no bus.
 */
int dbus_open(struct dbus **ret, const char *path, uint64_t until_ns, struct err *e) MUST_CHECK;
void dbus_close(struct dbus *d); /* NULL is fine */

/*
 * Calls a method with the body @body (NULL = none) of type c->sig; c->serial is filled in here.
 * *ret, which may be NULL, is the reply, valid until the next call on @d. An error reply is
 * -EREMOTEIO with its name and text in @e, its name in dbus_error_name() until the next call.
 * Signals that come meanwhile are kept for dbus_await().
 */
int dbus_call(struct dbus *d, struct dbus_call *c, const struct dbus_out *body,
	      struct dbus_msg *ret, struct err *e) MUST_CHECK;
const char *dbus_error_name(const struct dbus *d);

/*
 * Gives every signal @iface.@member, those kept first, to @take until it returns 1 (0 = not that
 * one, -errno = give up).
 */
int dbus_await(struct dbus *d, const char *iface, const char *member,
	       int (*take)(void *ctx, struct dbus_msg *m), void *ctx, struct err *e) MUST_CHECK;

#endif
