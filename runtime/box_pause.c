/* SPDX-License-Identifier: Apache-2.0 */
/* See box_pause.h. */
#include "runtime/box_pause.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "runtime/box_priv.h"

#define FREEZE_MS 10000
#define AGENT_S	  50 /* freezing and writing out: less than the request's own limit, see late ones */
#define PARK_S	  10

static void limit_time(struct box *b, uint64_t ns)
{
	struct box_pause *p = &b->pause;

	p->until = ns ? clock_ns() + ns : 0;
	if (p->timer.op.busy)
		loop_cancel(b->loop, &p->timer.op); /* on_time() starts it anew */
	else if (ns)
		loop_timer(b->loop, &p->timer, p->until);
}

/* Tells who waits. @text NULL = it worked. */
static void answer(struct box *b, const char *text)
{
	proxy_req_t req = b->pause.req;

	b->pause.req = 0;
	limit_time(b, 0);
	box_answer(b, req, 1, text);
}

static void forget_reply(struct box *b, uint64_t arg, const struct box_reply *r)
{
	(void)b;
	(void)arg;
	(void)r;
}

static int ask_agent(struct box *b, uint32_t cmd, box_reply_fn *fn)
{
	char json[96 + 256];

	(void)snprintf(json, sizeof(json), "{\"container\":\"%s\",\"timeout_ms\":%d}", b->state->id,
		       FREEZE_MS);
	return box_request(b, cmd, json, fn, b->pause.gen);
}

/* Nothing of it stays. */
static void roll_back(struct box *b, const char *why)
{
	struct box_pause *p = &b->pause;
	bool thaw = p->frozen || p->step == PAUSE_FREEZING;

	p->step = PAUSE_NONE;
	p->frozen = false;
	p->gen++;
	if (!b->dead)
		machine_resume(b->machine);
	if (thaw && b->phase < BOX_DRAINING)
		(void)ask_agent(b, LINK_RESUMECONTAINER, forget_reply);
	answer(b, why);
}

/* ---- pause ----------------------------------------------------------------------------------- */

static void parked(void *ctx, int rc)
{
	struct box *b = ctx;
	struct box_pause *p = &b->pause;
	char text[128];

	if (p->step == PAUSE_DONE && rc == -ETIMEDOUT)
		log_warn(
		    "the paused guest's processors did not stop again; its processes stand still");
	if (p->step != PAUSE_PARKING)
		return;
	if (rc == 0) {
		p->step = PAUSE_DONE;
		box_publish(b, STATE_PAUSED);
		answer(b, NULL);
		return;
	}
	if (rc == -ETIMEDOUT)
		(void)snprintf(text, sizeof(text),
			       "the guest's processors did not stop within %d seconds", PARK_S);
	else
		(void)snprintf(text, sizeof(text), "stopping the guest's processors: %s",
			       strerror(-rc));
	roll_back(b, text);
}

static void park(struct box *b)
{
	int rc;

	b->pause.step = PAUSE_PARKING;
	rc = machine_pause(b->machine, PARK_S * NS_PER_SEC, parked, b);
	if (rc < 0)
		parked(b, rc);
}

static void frozen(struct box *b, uint64_t gen, const struct box_reply *r)
{
	if (b->pause.step != PAUSE_FREEZING || b->pause.gen != gen)
		return;
	if (!r->ok) {
		b->pause.step = PAUSE_NONE;
		answer(b, r->text);
		return;
	}
	b->pause.frozen = true;
	limit_time(b, 0);
	park(b);
}

void box_cmd_pause(struct box *b, const struct box_call *c)
{
	struct box_pause *p = &b->pause;
	const char *why = NULL;
	int rc;

	if (box_defer(b, c))
		return;
	if (b->phase >= BOX_DRAINING || b->dead)
		why = "container not running";
	else if (p->step == PAUSE_DONE)
		why = "container is paused already";
	else if (p->step != PAUSE_NONE)
		why = "container is being paused or resumed";
	else if (b->phase == BOX_STARTING || b->start_req ||
		 (b->phase == BOX_GATED && b->prep == BOX_MAKING))
		why = "container is being started";
	if (why) {
		box_answer(b, c->req, 1, why);
		return;
	}
	p->req = c->req;
	p->gen++;
	if (b->phase == BOX_GATED && b->prep != BOX_MADE) {
		park(b);
		return;
	}
	p->step = PAUSE_FREEZING;
	rc = ask_agent(b, LINK_PAUSECONTAINER, frozen);
	if (rc < 0)
		roll_back(b, strerror(-rc));
	else
		limit_time(b, AGENT_S * NS_PER_SEC);
}

/* ---- resume ---------------------------------------------------------------------------------- */

static void thawed(struct box *b, uint64_t gen, const struct box_reply *r)
{
	struct box_pause *p = &b->pause;

	if (p->step != PAUSE_THAWING || p->gen != gen)
		return;
	if (!r->ok && b->phase < BOX_DRAINING && !b->dead) {
		/* They stand still, and it can be tried again. -EBUSY: somebody else stops the vCPUs. */
		p->step = PAUSE_DONE;
		answer(b, r->text);
		if (!p->awake)
			(void)!machine_pause(b->machine, PARK_S * NS_PER_SEC, parked, b);
		return;
	}
	p->step = PAUSE_NONE;
	p->frozen = false;
	/* Its own end tells more. */
	if (b->phase < BOX_DRAINING)
		box_publish(b, b->phase == BOX_GATED ? STATE_CREATED : STATE_RUNNING);
	answer(b, r->ok ? NULL : r->text);
}

void box_cmd_resume(struct box *b, const struct box_call *c)
{
	const struct box_reply nothing_to_do = {.ok = true};
	struct box_pause *p = &b->pause;
	int rc;

	if (p->step != PAUSE_DONE) {
		box_answer(b, c->req, 1,
			   p->step == PAUSE_NONE ? "container not paused"
						 : "container is being paused or resumed");
		return;
	}
	p->req = c->req;
	p->step = PAUSE_THAWING;
	p->gen++;
	machine_resume(b->machine);
	wants_restart(&b->wants);
	if (!p->frozen) {
		thawed(b, p->gen, &nothing_to_do);
		return;
	}
	rc = ask_agent(b, LINK_RESUMECONTAINER, thawed);
	if (rc < 0)
		thawed(b, p->gen, &(struct box_reply){.text = strerror(-rc)});
}

/* ---- time, the end, requests ----------------------------------------------------------------- */

static void on_time(struct loop_op *op, int res, unsigned flags)
{
	struct box *b = container_of(op, struct box, pause.timer.op);
	struct box_pause *p = &b->pause;
	char text[128];

	(void)res;
	(void)flags;
	if (!p->until || p->step != PAUSE_FREEZING)
		return;
	if (clock_ns() < p->until) {
		loop_timer(b->loop, &p->timer, p->until);
		return;
	}
	(void)snprintf(text, sizeof(text),
		       "the guest did not stand still and write its files within %d seconds",
		       AGENT_S);
	roll_back(b, text);
}

void box_pause_init(struct box *b)
{
	b->pause.timer.op = (struct loop_op){.done = on_time, .what = "pause"};
}

bool box_is_paused(const struct box *b)
{
	return b->pause.step != PAUSE_NONE;
}

void box_pause_break(struct box *b)
{
	if (b->pause.step == PAUSE_NONE)
		return;
	b->pause.step = PAUSE_NONE;
	b->pause.frozen = false;
	b->pause.gen++;
	if (!b->dead)
		machine_resume(b->machine);
	if (b->pause.req)
		answer(b, "container not running: it ends");
}

bool box_pause_wake(struct box *b)
{
	if (b->pause.step != PAUSE_DONE)
		return false;
	b->pause.awake++;
	machine_resume(b->machine);
	return true;
}

void box_pause_rest(struct box *b)
{
	if (--b->pause.awake || b->pause.step != PAUSE_DONE || b->dead)
		return;
	/* -EBUSY: somebody else is about to stop them. */
	(void)!machine_pause(b->machine, PARK_S * NS_PER_SEC, parked, b);
}
