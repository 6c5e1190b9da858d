/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two ends of a link in one process, that note what they are told, for the tests of link.c.
 * Included by one source per program: the state is static. One thread.
 */
#ifndef HUSK_TESTS_UNIT_LINK_PAIR_H
#define HUSK_TESTS_UNIT_LINK_PAIR_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/endian.h"
#include "mux/link.h"

#define READY "{\"protocol\":{\"min\":1,\"max\":1},\"version\":\"t\"}"

enum { DATA, END, CREDIT, EXITED, CLOSED };

/* One end and what it was told. */
struct end {
	struct link *l;
	unsigned ups, closeds, eofs, exits, writables, brokens, requests, replies, events;
	char json[64]; /* of up, request, reply or event; its beginning */
	size_t json_len;
	uint32_t id, cmd, status;
	bool ok;
	char why[80];
	struct buf got; /* all data() */
	uint64_t last;	/* stream of the last call */
	bool keep;	/* data() does not consume */
	char order[64]; /* one letter for each call */
	void (*hook)(struct end *e, char call, uint64_t stream);
};

static struct end host, agent;

static MAYBE_UNUSED void note(struct end *e, char call, uint64_t stream)
{
	size_t n = strlen(e->order);

	cr_assert(e->brokens == 0 || call == 'B', "call %c after broken", call);
	if (n + 1 < sizeof(e->order))
		e->order[n] = call;
	e->last = stream;
	if (e->hook)
		e->hook(e, call, stream);
}

static MAYBE_UNUSED void keep_json(struct end *e, const char *json, size_t len)
{
	(void)snprintf(e->json, sizeof(e->json), "%s", json);
	e->json_len = len;
	cr_assert_eq(json[len], '\0');
}

static MAYBE_UNUSED void on_up(void *ctx, const char *json, size_t len)
{
	struct end *e = ctx;

	e->ups++;
	keep_json(e, json, len);
	note(e, 'u', 0);
}

static MAYBE_UNUSED void on_request(void *ctx, uint32_t id, uint32_t cmd, const char *json,
				    size_t len)
{
	struct end *e = ctx;

	e->requests++;
	e->id = id;
	e->cmd = cmd;
	keep_json(e, json, len);
	note(e, 'q', 0);
}

static MAYBE_UNUSED void on_reply(void *ctx, uint32_t id, bool ok, const char *json, size_t len)
{
	struct end *e = ctx;

	e->replies++;
	e->id = id;
	e->ok = ok;
	keep_json(e, json, len);
	note(e, 'r', 0);
}

static MAYBE_UNUSED void on_event(void *ctx, const char *json, size_t len)
{
	struct end *e = ctx;

	e->events++;
	keep_json(e, json, len);
	note(e, 'v', 0);
}

static MAYBE_UNUSED void on_data(void *ctx, uint64_t stream, const void *p, size_t len)
{
	struct end *e = ctx;

	cr_assert_gt(len, 0);
	cr_assert_eq(buf_append(&e->got, p, len), 0);
	note(e, 'd', stream);
	if (!e->keep)
		link_consumed(e->l, stream, len);
}

static MAYBE_UNUSED void on_eof(void *ctx, uint64_t stream)
{
	((struct end *)ctx)->eofs++;
	note(ctx, 'e', stream);
}

static MAYBE_UNUSED void on_closed(void *ctx, uint64_t stream)
{
	((struct end *)ctx)->closeds++;
	note(ctx, 'c', stream);
}

static MAYBE_UNUSED void on_writable(void *ctx, uint64_t stream)
{
	((struct end *)ctx)->writables++;
	note(ctx, 'w', stream);
}

static MAYBE_UNUSED void on_exited(void *ctx, uint64_t stream, uint32_t status)
{
	((struct end *)ctx)->exits++;
	((struct end *)ctx)->status = status;
	note(ctx, 'x', stream);
}

static MAYBE_UNUSED void on_broken(void *ctx, const char *why)
{
	struct end *e = ctx;

	e->brokens++;
	(void)snprintf(e->why, sizeof(e->why), "%s", why);
	note(e, 'B', 0);
}

static const struct link_ops ops = {
    .up = on_up,
    .request = on_request,
    .reply = on_reply,
    .event = on_event,
    .data = on_data,
    .eof = on_eof,
    .closed = on_closed,
    .writable = on_writable,
    .exited = on_exited,
    .broken = on_broken,
};

/* The bytes come in a block of their own, so that a sanitizer sees reads beyond it. */
static MAYBE_UNUSED void feed(struct end *e, bool io, const void *p, size_t len)
{
	void *copy = malloc(len ? len : 1);

	if (len)
		memcpy(copy, p, len);
	if (io)
		link_io_input(e->l, copy, len);
	else
		link_ctl_input(e->l, copy, len);
	free(copy);
}

static size_t move(struct end *from, struct end *to, bool io, size_t chunk)
{
	size_t len, n;
	const void *p = io ? link_io_output(from->l, &len) : link_ctl_output(from->l, &len);
	uint8_t *copy;

	n = chunk && chunk < len ? chunk : len;
	if (!n)
		return 0;
	copy = malloc(n);
	memcpy(copy, p, n);
	if (io)
		link_io_sent(from->l, n);
	else
		link_ctl_sent(from->l, n);
	feed(to, io, copy, n);
	free(copy);
	return n;
}

static MAYBE_UNUSED void pump(size_t chunk)
{
	while (move(&host, &agent, false, chunk) + move(&agent, &host, false, chunk) +
	       move(&host, &agent, true, chunk) + move(&agent, &host, true, chunk))
		continue;
}

static MAYBE_UNUSED void begin(void)
{
	memset(&host, 0, sizeof(host));
	memset(&agent, 0, sizeof(agent));
	host.l = link_new(LINK_HOST, &ops, &host);
	agent.l = link_new(LINK_AGENT, &ops, &agent);
}

static MAYBE_UNUSED void finish(void)
{
	link_free(host.l);
	link_free(agent.l);
	buf_free(&host.got);
	buf_free(&agent.got);
}

static MAYBE_UNUSED void up(void)
{
	begin();
	cr_assert_eq(link_announce(agent.l, READY), 0);
	pump(0);
	cr_assert(link_is_up(host.l) && link_is_up(agent.l));
	memset(host.order, 0, sizeof(host.order));
	memset(agent.order, 0, sizeof(agent.order));
}

static MAYBE_UNUSED void open_both(uint64_t id)
{
	cr_assert_eq(link_open(host.l, id), 0);
	cr_assert_eq(link_open(agent.l, id), 0);
}

static MAYBE_UNUSED void ctl(struct end *e, uint32_t code, uint32_t id, const char *json)
{
	size_t len = json ? strlen(json) : 0;
	uint8_t *p = malloc(16 + len);

	be32_store(p, code);
	be32_store(p + 4, (uint32_t)(16 + len));
	be32_store(p + 8, id);
	be32_store(p + 12, 0);
	if (len)
		memcpy(p + 16, json, len);
	feed(e, false, p, 16 + len);
	free(p);
}

static MAYBE_UNUSED void io(struct end *e, uint64_t id, uint8_t type, uint32_t len,
			    const void *payload)
{
	uint8_t *p = calloc(1, 16 + len);

	be64_store(p, id);
	p[8] = type;
	be32_store(p + 12, len);
	if (payload)
		memcpy(p + 16, payload, len);
	feed(e, true, p, 16 + len);
	free(p);
}

static MAYBE_UNUSED void io_num(struct end *e, uint64_t id, uint8_t type, uint32_t v)
{
	uint8_t p[4];

	be32_store(p, v);
	io(e, id, type, 4, p);
}

static MAYBE_UNUSED void expect_broken(struct end *e, const char *why)
{
	cr_assert_eq(e->brokens, 1, "broken %u times, wanted: %s", e->brokens, why);
	cr_assert(strstr(e->why, why), "'%s' is not '%s'", e->why, why);
	/* Nothing after it, whatever comes and whatever is asked. */
	ctl(e, LINK_EVENT, 0, "{}");
	io(e, 3, DATA, 1, "x");
	io(e, 3, END, 0, NULL);
	cr_assert_eq(link_send(e->l, 3, "x", 1), 0);
	cr_assert_eq(link_send_room(e->l, 3), 0);
	link_send_eof(e->l, 3);
	link_consumed(e->l, 3, 0);
	cr_assert_eq(e->brokens, 1);
	cr_assert_not(link_is_up(e->l));
}

static MAYBE_UNUSED uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 7 + i / 251);
}

#endif
