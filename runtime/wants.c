/* SPDX-License-Identifier: Apache-2.0 */
/* See wants.h. */
#include "runtime/wants.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "runtime/json.h"

/*
 * What the agent has to do within how many seconds: far beyond what an idle host needs, since one
 * under load must not fail; short of what the callers of a runtime wait (podman and CRI-O give a
 * create 240 s). A lower memory limit and freezing write files out first.
 */
static const struct limit {
	uint32_t cmd;
	unsigned seconds;
	const char *what;
} limits[] = {
    {LINK_STARTPOD, 60, "begin"},
    {LINK_NEWCONTAINER, 120, "make the container"},
    {LINK_STARTCONTAINER, 120, "start the container's process"},
    {LINK_EXECCMD, 120, "start the process"},
    {LINK_DIAL, 60, "connect to a port of its own"},
    {LINK_SETUPINTERFACE, 60, "set up its network"},
    {LINK_KILLCONTAINER, 60, "send the signal"},
    {LINK_PAUSECONTAINER, 60, "stand still and write its files"},
    {LINK_RESUMECONTAINER, 60, "let the container go on"},
    {LINK_UPDATECONTAINER, 120, "change the limits"},
    {LINK_PSCONTAINER, 60, "list its processes"},
    {LINK_STATSCONTAINER, 60, "tell its figures"},
};
static const struct limit other = {0, 60, "answer"};

static const struct limit *limit_of(uint32_t cmd)
{
	for (size_t i = 0; i < ARRAY_LEN(limits); i++)
		if (limits[i].cmd == cmd)
			return &limits[i];
	return &other;
}

unsigned wants_limit(uint32_t cmd)
{
	return limit_of(cmd)->seconds;
}

/* The timer runs for the earliest; one that runs for a later time is cancelled and started anew. */
static void set_timer(struct wants *w)
{
	uint64_t first = UINT64_MAX;

	for (size_t i = 0; i < w->cnt; i++)
		if (w->v[i].fn)
			first = MIN(first, w->v[i].until);
	if (first == UINT64_MAX || (w->timer.op.busy && w->timer_at <= first))
		return;
	if (w->timer.op.busy) {
		loop_cancel(w->loop, &w->timer.op); /* on_time() comes back here */
		return;
	}
	w->timer_at = first;
	loop_timer(w->loop, &w->timer, first);
}

static void drop(struct wants *w, size_t i)
{
	w->v[i] = w->v[--w->cnt];
}

/* Tells the owner of the @i-th, which is off the list unless its late answer is of interest. */
static void tell(struct wants *w, size_t i, const struct box_reply *r, bool keep)
{
	struct want one = w->v[i];

	if (keep && one.late)
		w->v[i].fn = NULL;
	else
		drop(w, i);
	one.fn(w->box, one.arg, r);
	if (one.woke)
		w->ops->rest(w->box);
}

static bool stands_still(const struct wants *w, const struct want *o)
{
	return w->ops->still && w->ops->still(w->box, o->cmd, o->woke);
}

/* The one that is late for the longest time, or SIZE_MAX. */
static size_t overdue(struct wants *w, uint64_t now)
{
	size_t first = SIZE_MAX;

	for (size_t i = 0; i < w->cnt; i++) {
		struct want *o = &w->v[i];

		if (!o->fn || o->until > now)
			continue;
		if (stands_still(w, o))
			o->until = now + o->span;
		else if (first == SIZE_MAX || o->until < w->v[first].until)
			first = i;
	}
	return first;
}

static void on_time(struct loop_op *op, int res, unsigned flags)
{
	struct wants *w = container_of(op, struct wants, timer.op);
	uint64_t now = clock_ns();
	size_t i;

	(void)res;
	(void)flags;
	w->timer_at = 0;
	/* From the start each time: whoever is told may have asked for something new. */
	while ((i = overdue(w, now)) != SIZE_MAX) {
		const struct limit *l = limit_of(w->v[i].cmd);
		struct box_reply r = {.json = "", .status = 1};
		char text[160];

		(void)snprintf(text, sizeof(text), "the guest's agent did not %s within %u seconds",
			       l->what, (unsigned)(w->v[i].span / w->scale_ns));
		r.text = text;
		tell(w, i, &r, true);
	}
	set_timer(w);
}

void wants_init(struct wants *w, struct loop *loop, const struct wants_ops *ops, struct box *b)
{
	*w = (struct wants){.loop = loop, .ops = ops, .box = b, .scale_ns = NS_PER_SEC};
	w->timer.op = (struct loop_op){.done = on_time, .what = "limit of an agent's request"};
}

void wants_free(struct wants *w)
{
	free(w->v);
	w->v = NULL;
	w->cnt = w->cap = 0;
}

int wants_send(struct wants *w, const struct wants_ask *a)
{
	uint64_t span = wants_limit(a->cmd) * w->scale_ns + a->extra_ns;
	uint32_t id;
	int rc;

	if (w->cnt == WANTS_MAX)
		return -EBUSY;
	if (w->cnt == w->cap) {
		size_t cap = w->cap ? 2 * w->cap : 16;
		struct want *v = realloc(w->v, cap * sizeof(*v));

		if (!v)
			return -ENOMEM;
		w->v = v;
		w->cap = cap;
	}
	rc = link_request(w->link, a->cmd, a->json, &id);
	if (rc < 0)
		return rc;
	w->v[w->cnt++] = (struct want){.id = id,
				       .cmd = a->cmd,
				       .fn = a->fn,
				       .late = a->late,
				       .arg = a->arg,
				       .span = span,
				       .until = clock_ns() + span,
				       .woke = w->ops->wake && w->ops->wake(w->box)};
	set_timer(w);
	return 0;
}

void wants_reply(struct wants *w, uint32_t id, bool ok, const char *json, size_t len)
{
	struct box_reply r = {.ok = ok, .json = json, .len = len};
	struct err e = {0};
	auto_json o = NULL;
	size_t i = 0;

	while (i < w->cnt && w->v[i].id != id)
		i++;
	if (i == w->cnt)
		return;
	if (!w->v[i].fn) {
		struct want late = w->v[i];

		drop(w, i);
		if (ok)
			late.late(w->box, late.arg);
		return;
	}
	if (len && json_parse(json, len, "the agent's answer", &o, &e) < 0)
		r.ok = false;
	r.o = o;
	if (!r.ok) {
		r.text = json_str(o, "message", e.code ? e.msg : "the agent refused");
		r.status = (int)MAX(1, MIN(json_i64(o, "status", 1), 255));
	}
	tell(w, i, &r, false);
}

void wants_give_up(struct wants *w, const char *why)
{
	const struct box_reply r = {.json = "", .text = why, .status = 1};

	while (w->cnt) {
		size_t last = w->cnt - 1;

		if (w->v[last].fn)
			tell(w, last, &r, false);
		else
			drop(w, last);
	}
}

void wants_restart(struct wants *w)
{
	uint64_t now = clock_ns();

	for (size_t i = 0; i < w->cnt; i++)
		w->v[i].until = now + w->v[i].span;
}
