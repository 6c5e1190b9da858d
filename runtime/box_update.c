/* SPDX-License-Identifier: Apache-2.0 */
/*
 * New limits for a container, and with them a VM of another size. Loop thread.
 *
 *            plug if there is none      the guest has taken it       agent: all or none
 *   grow:   ----------------------> ADDING --------------------> LIMITING ------------> answer
 *                  | refused, late     |                             | refused
 *                  +-------------------+-----------------------------+--> as it was, answer
 *
 * A limit never exceeds the memory that is there: memory comes first. When a limit shrinks, memory
 * goes after it, as the guest gives it up; nobody waits for that. Devices are bound by the agent: the
 * one to grow is plugged when it is first needed, the balloon once the container runs, where no start
 * waits for it. The balloon also gives back what the guest has free (virtio 1.2, 5.5.6.7).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "runtime/box_priv.h"

#define GROW_S	  30
#define GROW_STEP (UINT64_C(4) << 20) /* the least that Linux adds: a page of its largest order */

/* Tells who waits; @text NULL = it worked. */
static void answer(struct box *b, int status, const char *text)
{
	struct box_update *u = &b->update;
	proxy_req_t req = u->req;

	u->step = UPDATE_NONE;
	u->req = 0;
	u->until = 0;
	u->gen++;
	json_put_ptr(&u->resources);
	loop_cancel(b->loop, &u->timer.op);
	box_answer(b, req, status, text);
}

static int ask_agent(struct box *b, struct json_object *resources, unsigned slot, box_reply_fn *fn)
{
	auto_json o = json_object_new_object();
	char name[48];

	json_add_str(o, "container", b->state->id);
	(void)json_object_object_add(
	    o, "resources", resources ? json_object_get(resources) : json_object_new_object());
	if (slot != UPDATE_NO_SLOT) {
		struct json_object *names = json_object_new_array();

		(void)snprintf(name, sizeof(name), "%" PRIx64 ".virtio_mmio",
			       machine_slot_gpa(b->machine, slot));
		(void)json_object_array_add(names, json_object_new_string(name));
		(void)json_object_object_add(o, "devices", names);
	}
	return box_request(b, LINK_UPDATECONTAINER,
			   json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN), fn,
			   b->update.gen);
}

/* ---- shrinking ------------------------------------------------------------------------------- */

static void balloon_bound(struct box *b, uint64_t arg, const struct box_reply *r)
{
	(void)arg;
	if (!r->ok && b->phase == BOX_RUNNING)
		log_warn("the guest has no driver for its balloon: %s", r->text);
}

static int add_balloon(struct box *b, struct err *e)
{
	unsigned slot = UPDATE_NO_SLOT;
	int rc = machine_add_balloon(b->machine, false, &slot, e);

	return rc < 0 ? rc : ask_agent(b, NULL, slot, balloon_bound);
}

void box_add_balloon(struct box *b)
{
	struct machine_memory mm;
	struct err e = {0};
	int rc;

	machine_memory(b->machine, &mm);
	if (b->phase != BOX_RUNNING || b->dead || mm.has_balloon)
		return;
	rc = add_balloon(b, &e);
	if (rc < 0)
		log_warn("free memory stays in the VM: %s", e.code ? e.msg : strerror(-rc));
}

static void shrink(struct box *b)
{
	struct machine_memory mm;
	struct err e = {0};
	int rc = 0;

	machine_memory(b->machine, &mm);
	if (!b->update.want || b->update.want >= mm.wanted)
		return;
	if (b->update.want < mm.boot && !mm.has_balloon)
		rc = add_balloon(b, &e);
	if (rc == 0)
		rc = machine_set_memory(b->machine, b->update.want, &e);
	/* The limit holds without it. */
	if (rc < 0)
		log_warn("the VM keeps its memory: %s", e.code ? e.msg : strerror(-rc));
}

/* ---- limits ---------------------------------------------------------------------------------- */

static void limited(struct box *b, uint64_t gen, const struct box_reply *r)
{
	struct box_update *u = &b->update;
	struct err e = {0};

	if (u->step != UPDATE_LIMITING || u->gen != gen)
		return;
	if (!r->ok) {
		if (u->was && machine_set_memory(b->machine, u->was, &e) < 0)
			log_warn("%s", e.msg);
		answer(b, r->status, r->text);
		return;
	}
	if (u->was) {
		b->state->size.memory = MAX(b->state->size.memory, u->want);
		box_publish(b, b->state->status);
	} else {
		shrink(b);
	}
	answer(b, 0, NULL);
}

static void set_limits(struct box *b)
{
	int rc;

	b->update.step = UPDATE_LIMITING;
	rc = ask_agent(b, b->update.resources, UPDATE_NO_SLOT, limited);
	if (rc < 0)
		answer(b, 1, strerror(-rc));
}

/* ---- growing --------------------------------------------------------------------------------- */

static void give_up_growing(struct box *b, const char *why)
{
	struct err e = {0};

	if (!b->dead && machine_set_memory(b->machine, b->update.was, &e) < 0)
		log_warn("%s", e.msg);
	answer(b, 1, why);
}

void box_memory_changed(void *ctx)
{
	struct box *b = ctx;
	struct machine_memory mm;

	if (b->update.step != UPDATE_ADDING)
		return;
	machine_memory(b->machine, &mm);
	if (mm.now < b->update.want)
		return;
	b->update.until = 0;
	loop_cancel(b->loop, &b->update.timer.op);
	set_limits(b);
}

static void on_time(struct loop_op *op, int res, unsigned flags)
{
	struct box *b = container_of(op, struct box, update.timer.op);
	struct box_update *u = &b->update;
	struct machine_memory mm;
	char text[128];

	(void)res;
	(void)flags;
	if (!u->until || u->step != UPDATE_ADDING)
		return;
	if (clock_ns() < u->until) { /* an earlier one's, cancelled */
		loop_timer(b->loop, &u->timer, u->until);
		return;
	}
	machine_memory(b->machine, &mm);
	(void)snprintf(text, sizeof(text),
		       "the guest has taken %" PRIu64 " MiB of memory and not %" PRIu64
		       " within %d seconds",
		       mm.now >> 20, u->want >> 20, GROW_S);
	give_up_growing(b, text);
}

static void add_memory(struct box *b)
{
	struct box_update *u = &b->update;
	struct err e = {0};
	int rc = machine_set_memory(b->machine, u->want, &e);

	if (rc < 0) {
		answer(b, 1, e.msg);
		return;
	}
	u->until = clock_ns() + GROW_S * NS_PER_SEC;
	if (!u->timer.op.busy)
		loop_timer(b->loop, &u->timer, u->until);
	box_memory_changed(b);
}

static void bound(struct box *b, uint64_t gen, const struct box_reply *r)
{
	b->update.bound |= r->ok;
	if (b->update.step != UPDATE_ADDING || b->update.gen != gen)
		return;
	if (r->ok)
		add_memory(b);
	else
		answer(b, r->status, r->text);
}

static void grow(struct box *b, const struct machine_memory *mm)
{
	struct box_update *u = &b->update;
	struct err e = {0};
	int rc = 0;

	u->step = UPDATE_ADDING;
	u->was = mm->wanted;
	if (u->want > mm->boot)
		u->want =
		    MIN(mm->boot + ALIGN_UP(u->want - mm->boot, GROW_STEP),
			mm->boot + ALIGN_DOWN(b->state->size.memory_max - mm->boot, GROW_STEP));
	if (u->bound || u->want <= mm->boot) {
		add_memory(b);
		return;
	}
	if (mm->max == mm->boot)
		rc = machine_add_vmem(b->machine, b->state->size.memory_max, &u->slot, &e);
	if (rc == 0)
		rc = ask_agent(b, NULL, u->slot, bound);
	if (rc < 0)
		answer(b, 1, e.code ? e.msg : strerror(-rc));
}

/* ---- the command ----------------------------------------------------------------------------- */

/* The container is not made yet: what it is made with changes. */
static int change_spec(struct box *b, struct json_object *all)
{
	struct json_object *lin = json_at(b->spec->root, "linux");

	if (!lin)
		return -EINVAL;
	return json_object_object_add(lin, "resources", json_object_get(all)) < 0 ? -ENOMEM : 0;
}

static const char *refusal(const struct box *b, const struct box_call *c, uint64_t want)
{
	struct machine_memory mm;

	if (!json_object_is_type(json_at(c->o, "resources"), json_type_object) ||
	    !json_object_is_type(json_at(c->o, "all"), json_type_object))
		return "update: no resources";
	if (b->phase >= BOX_DRAINING || b->dead)
		return "container not running";
	if (b->phase == BOX_STARTING || (b->phase == BOX_GATED && b->prep == BOX_MAKING))
		return "container is being started";
	if (b->update.step != UPDATE_NONE)
		return "the container's limits are being changed already";
	machine_memory(b->machine, &mm);
	if (want <= mm.wanted)
		return NULL;
	if (b->phase == BOX_GATED && b->prep != BOX_MADE)
		return "the VM's memory cannot grow before the container is started";
	return box_is_paused(b) ? "the memory of a paused VM cannot grow" : NULL;
}

void box_cmd_update(struct box *b, const struct box_call *c)
{
	struct box_update *u = &b->update;
	uint64_t want = (uint64_t)MAX(json_i64(c->o, "memory", 0), 0);
	struct machine_memory mm;
	const char *why;
	int rc;

	if (box_defer(b, c))
		return;
	why = refusal(b, c, want);
	if (why) {
		box_answer(b, c->req, 1, why);
		return;
	}
	if (b->phase == BOX_GATED && b->prep != BOX_MADE) {
		rc = change_spec(b, json_at(c->o, "all"));
		box_answer(b, c->req, 1, rc < 0 ? strerror(-rc) : NULL);
		return;
	}
	u->timer.op.done = on_time;
	u->timer.op.what = "update";
	u->req = c->req;
	u->want = want;
	u->was = 0;
	u->gen++;
	u->resources = json_object_get(json_at(c->o, "resources"));
	machine_memory(b->machine, &mm);
	if (want > mm.wanted)
		grow(b, &mm);
	else
		set_limits(b);
}
