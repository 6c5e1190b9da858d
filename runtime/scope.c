/* SPDX-License-Identifier: Apache-2.0 */
/* Transient scopes of systemd. See scope.h. */
#include "runtime/scope.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "runtime/dbus.h"

#define TIMEOUT_NS (25 * NS_PER_SEC) /* the usual one of a method call */
#define SYSTEMD	   "org.freedesktop.systemd1"
#define MANAGER	   SYSTEMD ".Manager"
#define CPUS_MAX   1024u /* in a set, as a bit mask */

/* ---- properties ------------------------------------------------------------------------------ */

/* The next (sv): its name and its value's type; the value follows. */
static void begin(struct dbus_out *o, const char *name, const char *type)
{
	dbus_put_align(o, 8);
	dbus_put_str(o, name);
	dbus_put_sig(o, type);
}

static void put_str(struct dbus_out *o, const char *name, const char *v)
{
	begin(o, name, "s");
	dbus_put_str(o, v);
}

static void put_bool(struct dbus_out *o, const char *name, bool v)
{
	begin(o, name, "b");
	dbus_put_bool(o, v);
}

static void put_u64(struct dbus_out *o, const char *name, uint64_t v)
{
	begin(o, name, "t");
	dbus_put_u64(o, v);
}

/* systemd's "infinity" is the largest number. */
static void put_limit(struct dbus_out *o, const char *name, int64_t v)
{
	put_u64(o, name, v == CGLIMITS_NONE ? UINT64_MAX : (uint64_t)v);
}

/* "0-2,8" as a mask, byte by byte from the lowest. The list has been checked. */
static void put_set(struct dbus_out *o, const char *name, const char *list)
{
	uint8_t mask[CPUS_MAX / 8] = {0};
	size_t mark, used = 0;

	for (const char *p = list; *p; p += *p == ',') {
		char *end;
		unsigned long a = strtoul(p, &end, 10), b = a;

		if (*end == '-')
			b = strtoul(end + 1, &end, 10);
		if (end == p || b >= CPUS_MAX)
			return; /* larger than any host: the file says so */
		for (; a <= b; a++) {
			mask[a / 8] |= (uint8_t)(1u << a % 8);
			used = MAX(used, a / 8 + 1);
		}
		p = end;
	}
	begin(o, name, "ay");
	mark = dbus_array_begin(o, 1);
	for (size_t i = 0; i < used; i++)
		dbus_put_u8(o, mask[i]);
	dbus_array_end(o, mark, 1);
}

static void put_quota(struct dbus_out *o, const struct cglimits *l)
{
	uint64_t period = l->period ? l->period : 100000, per_sec;

	if (!l->quota)
		return;
	if (l->quota == CGLIMITS_NONE ||
	    __builtin_mul_overflow((uint64_t)l->quota, UINT64_C(1000000), &per_sec)) {
		per_sec = UINT64_MAX;
	} else {
		/* It counts in hundredths of a CPU: never below what was asked for. */
		per_sec /= period;
		per_sec = (per_sec + 9999) / 10000 * 10000;
	}
	put_u64(o, "CPUQuotaPerSecUSec", per_sec);
	if (l->period)
		put_u64(o, "CPUQuotaPeriodUSec", l->period);
}

void scope_put_limits(struct dbus_out *o, const struct cglimits *l, unsigned version)
{
	if (version == 2) {
		if (l->memory)
			put_limit(o, "MemoryMax", l->memory);
		if (l->high)
			put_limit(o, "MemoryHigh", l->high);
		if (l->low)
			put_limit(o, "MemoryLow", l->low);
		if (l->has_swap)
			put_limit(o, "MemorySwapMax", l->swap);
		if (l->weight)
			put_u64(o, "CPUWeight", l->weight);
		if (l->io_weight)
			put_u64(o, "IOWeight", l->io_weight);
		if (l->cpus)
			put_set(o, "AllowedCPUs", l->cpus);
		if (l->mems)
			put_set(o, "AllowedMemoryNodes", l->mems);
	} else {
		if (l->memory)
			put_limit(o, "MemoryLimit", l->memory);
		if (l->shares)
			put_u64(o, "CPUShares", l->shares);
		if (l->blkio_weight)
			put_u64(o, "BlockIOWeight", l->blkio_weight);
	}
	put_quota(o, l);
	if (l->pids)
		put_limit(o, "TasksMax", l->pids);
}

/* ---- jobs ------------------------------------------------------------------------------------ */

struct job {
	char path[128];
	char result[64];
};

/* JobRemoved(u id, o job, s unit, s result) */
static int take_job(void *ctx, struct dbus_msg *m)
{
	struct job *j = ctx;
	const char *path;

	if (!m->sig || strcmp(m->sig, "uoss") != 0)
		return 0;
	(void)dbus_get_u32(&m->body);
	path = dbus_get_str(&m->body);
	(void)dbus_get_str(&m->body);
	if (strcmp(path, j->path) != 0)
		return 0;
	(void)snprintf(j->result, sizeof(j->result), "%s", dbus_get_str(&m->body));
	return m->body.failed ? -EPROTO : 1;
}

static void call_of(struct dbus_call *c, const char *member, const char *sig)
{
	*c = (struct dbus_call){.dest = SYSTEMD,
				.path = "/org/freedesktop/systemd1",
				.iface = MANAGER,
				.member = member,
				.sig = sig};
}

/* A connection that hears the ends of jobs, which systemd tells only to subscribers. */
static int connect_bus(struct dbus **ret, struct err *e)
{
	CLEANUP(dbus_out_free) struct dbus_out match = {0};
	struct dbus_call subscribe, add = {.dest = "org.freedesktop.DBus",
					   .path = "/org/freedesktop/DBus",
					   .iface = "org.freedesktop.DBus",
					   .member = "AddMatch",
					   .sig = "s"};
	int rc = dbus_open(ret, DBUS_SYSTEM_SOCKET, clock_ns() + TIMEOUT_NS, e);

	if (rc < 0)
		return rc;
	dbus_put_str(&match, "type='signal',sender='" SYSTEMD "',interface='" MANAGER
			     "',member='JobRemoved'");
	rc = dbus_call(*ret, &add, &match, NULL, e);
	if (rc == 0) {
		call_of(&subscribe, "Subscribe", "");
		rc = dbus_call(*ret, &subscribe, NULL, NULL, e);
	}
	if (rc < 0) {
		dbus_close(*ret);
		*ret = NULL;
	}
	return rc;
}

static void close_bus(struct dbus **d)
{
	dbus_close(*d);
	*d = NULL;
}

/* Calls what returns a job and waits for its end. */
static int run_job(struct dbus *d, struct dbus_call *c, const struct dbus_out *body, struct err *e)
{
	struct dbus_msg reply;
	struct job j = {0};
	int rc = dbus_call(d, c, body, &reply, e);

	if (rc < 0)
		return rc;
	(void)snprintf(j.path, sizeof(j.path), "%s", dbus_get_str(&reply.body));
	if (reply.body.failed)
		return err_set(e, -EPROTO, "%s: no job in the reply", c->member);
	rc = dbus_await(d, MANAGER, "JobRemoved", take_job, &j, e);
	if (rc < 0)
		return rc;
	if (strcmp(j.result, "done") != 0)
		return err_set(e, -EREMOTEIO, "%s: its job ended with '%s'", c->member, j.result);
	return 0;
}

/* Calls @member(s unit), or (ss unit, "replace") for a job. No such unit is fine. */
static int on_unit(struct dbus *d, const char *member, const char *unit, bool job, struct err *e)
{
	CLEANUP(dbus_out_free) struct dbus_out body = {0};
	struct err own = {0};
	struct dbus_call c;
	int rc;

	call_of(&c, member, job ? "ss" : "s");
	dbus_put_str(&body, unit);
	if (job)
		dbus_put_str(&body, "replace");
	rc = job ? run_job(d, &c, &body, &own) : dbus_call(d, &c, &body, NULL, &own);
	if (rc < 0 && !strcmp(dbus_error_name(d), SYSTEMD ".NoSuchUnit"))
		return 0;
	return rc < 0 ? err_set(e, rc, "%s", own.msg) : 0;
}

/* ---- scopes ---------------------------------------------------------------------------------- */

bool scope_possible(void)
{
	return access("/run/systemd/system", F_OK) == 0;
}

static void put_scope(struct dbus_out *o, const char *slice, const char *id,
		      const struct cglimits *l, unsigned version, pid_t pid)
{
	static const char *const accounting[] = {"MemoryAccounting", "CPUAccounting",
						 "TasksAccounting"};
	char text[300];
	size_t mark;

	(void)snprintf(text, sizeof(text), "husk container %s", id);
	put_str(o, "Description", text);
	put_str(o, "Slice", slice);
	put_bool(o, "Delegate", true);
	put_bool(o, "DefaultDependencies", false);
	/* Killed, it is gone, and nobody has to reset it. */
	put_str(o, "CollectMode", "inactive-or-failed");
	for (size_t i = 0; i < ARRAY_LEN(accounting); i++)
		put_bool(o, accounting[i], true);
	put_bool(o, version == 2 ? "IOAccounting" : "BlockIOAccounting", true);
	begin(o, "PIDs", "au");
	mark = dbus_array_begin(o, 4);
	dbus_put_u32(o, (uint32_t)pid);
	dbus_array_end(o, mark, 4);
	scope_put_limits(o, l, version);
}

int scope_start(const char *slice, const char *unit, const char *id, const struct cglimits *l,
		unsigned version, pid_t pid, struct err *e)
{
	CLEANUP(dbus_out_free) struct dbus_out body = {0};
	CLEANUP(close_bus) struct dbus *d = NULL;
	struct err first = {0};
	struct dbus_call c;
	size_t mark;
	int rc = connect_bus(&d, e);

	if (rc < 0)
		return rc;
	call_of(&c, "StartTransientUnit", "ssa(sv)a(sa(sv))");
	dbus_put_str(&body, unit);
	dbus_put_str(&body, "replace");
	mark = dbus_array_begin(&body, 8);
	put_scope(&body, slice, id, l, version, pid);
	dbus_array_end(&body, mark, 8);
	mark = dbus_array_begin(&body, 8); /* no other units with it */
	dbus_array_end(&body, mark, 8);
	rc = run_job(d, &c, &body, &first);
	if (rc < 0 && !strcmp(dbus_error_name(d), SYSTEMD ".UnitExists")) {
		rc = on_unit(d, "ResetFailedUnit", unit, false, e);
		if (rc == 0) {
			memset(&first, 0, sizeof(first));
			rc = run_job(d, &c, &body, &first);
		}
	}
	return rc < 0 ? err_set(e, rc, "scope %.100s: %s", unit, first.msg) : 0;
}

int scope_update(const char *unit, const struct cglimits *l, unsigned version, struct err *e)
{
	CLEANUP(dbus_out_free) struct dbus_out body = {0};
	CLEANUP(close_bus) struct dbus *d = NULL;
	struct dbus_call c;
	size_t mark;
	int rc = dbus_open(&d, DBUS_SYSTEM_SOCKET, clock_ns() + TIMEOUT_NS, e);

	if (rc < 0)
		return rc;
	call_of(&c, "SetUnitProperties", "sba(sv)");
	dbus_put_str(&body, unit);
	dbus_put_bool(&body, true); /* until the next boot */
	mark = dbus_array_begin(&body, 8);
	scope_put_limits(&body, l, version);
	dbus_array_end(&body, mark, 8);
	rc = dbus_call(d, &c, &body, NULL, e);
	return rc < 0 ? err_wrap(e, "scope %.100s", unit) : 0;
}

int scope_stop(const char *unit, struct err *e)
{
	CLEANUP(close_bus) struct dbus *d = NULL;
	struct err ignored = {0};
	int rc = connect_bus(&d, e);

	if (rc == 0)
		rc = on_unit(d, "StopUnit", unit, true, e);
	if (rc == 0)
		(void)!on_unit(d, "ResetFailedUnit", unit, false, &ignored);
	return rc < 0 ? err_wrap(e, "scope %.100s", unit) : 0;
}
