/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container's cgroup as a transient scope of systemd (org.freedesktop.systemd1(5), Manager): made,
 * changed and ended over the system bus. Each function is one conversation, blocking, with a
 * deadline of its own. Called by one-threaded processes only.
 */
#ifndef HUSK_RUNTIME_SCOPE_H
#define HUSK_RUNTIME_SCOPE_H

#include <stdbool.h>
#include <sys/types.h>
#include "base/err.h"
#include "runtime/cglimits.h"

/* Is systemd this host's init? (sd_booted(3)) */
bool scope_possible(void);

/*
 * Makes @unit in @slice with process @pid in it and waits until it is there. @version: of the
 * cgroups. What a former unit of that name left behind by failing is removed.
 */
int scope_start(const char *slice, const char *unit, const char *id, const struct cglimits *l,
		unsigned version, pid_t pid, struct err *e) MUST_CHECK;
/* Tells systemd the limits that it knows, or it would restore the former ones at a reload. */
int scope_update(const char *unit, const struct cglimits *l, unsigned version,
		 struct err *e) MUST_CHECK;
/* Ends it and waits; fine when there is none. */
int scope_stop(const char *unit, struct err *e) MUST_CHECK;

/* The limits as properties, an array of (sv) elements that is open in @o. For tests, too. */
struct dbus_out;
void scope_put_limits(struct dbus_out *o, const struct cglimits *l, unsigned version);

#endif
