/* SPDX-License-Identifier: Apache-2.0 */
/* The sandbox's forwarded connections (forward.h): what they need of the agent. Loop thread. */
#include <errno.h>
#include <string.h>

#include "runtime/box_priv.h"

static void answered(struct box *b, uint64_t base, const struct box_reply *r)
{
	forwards_dialled(&b->forwards, base, r->ok);
}

/* Nobody waits for it any more: the agent lets go of it. */
static void answered_late(struct box *b, uint64_t base)
{
	if (link_open(b->link, base) < 0)
		return;
	link_send_eof(b->link, base);
	link_send_closed(b->link, base);
	link_close(b->link, base);
	agentlink_flush(b->al);
}

static int dial(void *ctx, uint64_t base, const char *address, uint16_t port)
{
	auto_json o = json_object_new_object();

	json_add_i64(o, "base", (int64_t)base);
	json_add_str(o, "address", address);
	json_add_i64(o, "port", port);
	return box_ask(ctx, &(struct wants_ask){
				.cmd = LINK_DIAL,
				.json = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN),
				.fn = answered,
				.late = answered_late,
				.arg = base});
}

static uint64_t next_base(void *ctx)
{
	const struct box *b = ctx;

	return proxy_next_base(clients_proxy(b->clients));
}

static void flush(void *ctx)
{
	const struct box *b = ctx;

	agentlink_flush(b->al);
}

void box_forward(struct box *b)
{
	static const struct forwards_ops ops = {
	    .next_base = next_base, .dial = dial, .flush = flush};

	forwards_begin(&b->forwards, b->loop, b->link, b->fds.proc, &ops, b);
}
