/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What clients ask about a running container: its processes, its figures, and to be told when it runs
 * out of memory. box_priv.h has the rules for handlers; docs/agent-protocol.md what the
 * agent answers.
 */
#include <stdio.h>
#include <string.h>

#include "runtime/box_priv.h"

/* A command of the agent with nothing but the container's name; the answer goes to the client as it is. */
static void relay(struct box *b, const struct box_call *c, uint32_t cmd)
{
	char json[32 + 256];

	/* Behind the gate there is nothing of the container's own but the execs. */
	if (b->phase != BOX_RUNNING && !(b->phase == BOX_GATED && box_execs_alive(b))) {
		box_answer(b, c->req, 1, "container not running");
		return;
	}
	(void)snprintf(json, sizeof(json), "{\"container\":\"%s\"}", b->state->id);
	box_relay(b, cmd, json, c->req);
}

void box_cmd_ps(struct box *b, const struct box_call *c)
{
	relay(b, c, LINK_PSCONTAINER);
}

/* Of the stand-ins: the sandbox process itself is known to whoever asks. */
void box_cmd_pids(struct box *b, const struct box_call *c)
{
	auto_json o = json_object_new_object();
	struct json_object *all = json_object_new_array();
	const char *text;

	(void)json_object_object_add(o, "pids", all);
	list_for_each (pos, &b->procs.list) {
		const struct proc *p = list_entry(pos, struct proc, node);

		if (p != b->init && p->standin > 0 && !p->exited && !p->ended)
			(void)json_object_array_add(all, json_object_new_int(p->standin));
	}
	text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	proxy_reply(clients_proxy(b->clients), c->req, text, strlen(text));
}

void box_cmd_stats(struct box *b, const struct box_call *c)
{
	relay(b, c, LINK_STATSCONTAINER);
}

/* ---- out of memory --------------------------------------------------------------------------- */

static void tell_waiter(struct box *b, proxy_req_t req)
{
	char json[64];
	int n =
	    snprintf(json, sizeof(json), "{\"oom\":%llu,\"ended\":%s}",
		     (unsigned long long)b->oom.kills, b->phase >= BOX_DRAINING ? "true" : "false");

	proxy_reply(clients_proxy(b->clients), req, json, (size_t)n);
}

void box_cmd_wait(struct box *b, const struct box_call *c)
{
	int64_t seen = json_i64(c->o, "oom", 0);
	struct box_oom *w = &b->oom;

	if (seen < 0 || (uint64_t)seen < w->kills || b->phase >= BOX_DRAINING) {
		tell_waiter(b, c->req);
		return;
	}
	/* Some of those who wait may be gone; one that is not just asks again. */
	if (w->req[w->next])
		tell_waiter(b, w->req[w->next]);
	w->req[w->next] = c->req;
	w->next = (w->next + 1) % BOX_WAITERS;
}

void box_oom_killed(struct box *b, uint64_t kills)
{
	struct box_oom *w = &b->oom;

	if (kills <= w->kills)
		return;
	w->kills = kills;
	for (unsigned i = 0; i < BOX_WAITERS; i++) {
		proxy_req_t req = w->req[i];

		w->req[i] = 0;
		if (req)
			tell_waiter(b, req);
	}
}
