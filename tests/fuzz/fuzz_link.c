/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.c as host and as agent, against a stream of operations: raw bytes from the other side, in
 * whole and in part, and calls of our own, between and inside of callbacks.
 *
 * Beside what sanitizers see, it holds that broken() comes once and nothing after it, that no more
 * than a window is outstanding per stream, and that what link_send_room() says is taken.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/endian.h"
#include "mux/link.h"

#define STREAMS 8

static struct link *l;
static bool is_agent, broken, eager;
static size_t outstanding[STREAMS];
static uint32_t last_id;
static unsigned depth, reopen;
static const uint8_t *in;
static size_t left;

#define CHECK(c)                                                                                   \
	do {                                                                                       \
		if (!(c))                                                                          \
			abort();                                                                   \
	} while (0)

static uint8_t next(void)
{
	if (!left)
		return 0;
	left--;
	return *in++;
}

static void open_stream(uint64_t id)
{
	if (link_open(l, id) == 0)
		outstanding[id % STREAMS] = 0;
}

static void close_stream(uint64_t id)
{
	link_close(l, id);
	outstanding[id % STREAMS] = 0;
}

/* One call of ours. */
static void act(void)
{
	static uint8_t z[LINK_WINDOW];
	uint8_t op = next();
	uint64_t id = op >> 4 & (STREAMS - 1);
	size_t room;
	int rc;

	switch (op & 15) {
	case 0:
		open_stream(id);
		break;
	case 1:
		close_stream(id);
		break;
	case 2:
		room = link_send_room(l, id);
		CHECK(link_send(l, id, z, room) == room || broken);
		break;
	case 3:
		(void)link_send(l, id, z, (size_t)next() * 16);
		break;
	case 4:
		link_send_eof(l, id);
		break;
	case 5:
		link_send_closed(l, id);
		break;
	case 6:
		if (is_agent)
			link_send_exit(l, id, next());
		break;
	case 7:
		room = outstanding[id];
		outstanding[id] = 0;
		link_consumed(l, id, room);
		break;
	case 8:
		if (is_agent)
			rc = link_reply(l, last_id, id & 1, "{\"message\":\"m\"}");
		else
			rc = link_request(l, LINK_PING, "{}", &last_id);
		(void)rc;
		break;
	case 9:
		if (is_agent) {
			rc = link_event(l, "{}");
			(void)rc;
		}
		break;
	default:
		break;
	}
}

static void inside(void)
{
	CHECK(!broken);
	depth++;
	if (depth < 4 && eager)
		act();
	depth--;
}

static void on_up(void *ctx, const char *json, size_t len)
{
	(void)ctx;
	CHECK(json[len] == '\0');
	inside();
}

static void on_request(void *ctx, uint32_t id, uint32_t cmd, const char *json, size_t len)
{
	(void)ctx;
	(void)cmd;
	CHECK(json[len] == '\0' && id && is_agent);
	last_id = id;
	inside();
}

static void on_reply(void *ctx, uint32_t id, bool ok, const char *json, size_t len)
{
	(void)ctx;
	(void)ok;
	CHECK(json[len] == '\0' && id && !is_agent);
	inside();
}

static void on_event(void *ctx, const char *json, size_t len)
{
	(void)ctx;
	CHECK(json[len] == '\0' && !is_agent);
	inside();
}

static void on_data(void *ctx, uint64_t stream, const void *p, size_t len)
{
	static uint8_t sink[65536];

	(void)ctx;
	CHECK(stream < STREAMS && len && len <= sizeof(sink));
	memcpy(sink, p, len);
	outstanding[stream] += len;
	CHECK(outstanding[stream] <= LINK_WINDOW);
	inside();
}

static void on_stream(void *ctx, uint64_t stream)
{
	(void)ctx;
	CHECK(stream < STREAMS);
	inside();
}

static void on_exited(void *ctx, uint64_t stream, uint32_t status)
{
	(void)status;
	CHECK(!is_agent);
	on_stream(ctx, stream);
}

static void on_broken(void *ctx, const char *why)
{
	(void)ctx;
	CHECK(!broken && why);
	broken = true;
	for (uint64_t i = 0; i < reopen; i++)
		close_stream(i);
}

static const struct link_ops ops = {
    .up = on_up,
    .request = on_request,
    .reply = on_reply,
    .event = on_event,
    .data = on_data,
    .eof = on_stream,
    .closed = on_stream,
    .writable = on_stream,
    .exited = on_exited,
    .broken = on_broken,
};

/* The bytes in a block of their own, cut in two at @cut. */
static void feed(bool io, const uint8_t *p, size_t len, size_t cut)
{
	void (*take)(struct link *, const void *, size_t) = io ? link_io_input : link_ctl_input;
	uint8_t *copy = malloc(len + 1);

	memcpy(copy, p, len);
	cut = cut < len ? cut : len;
	take(l, copy, cut);
	take(l, copy + cut, len - cut);
	free(copy);
}

static void feed_ctl(uint32_t code, uint32_t id, const char *json)
{
	uint8_t f[128];
	size_t len = strlen(json);

	be32_store(f, code);
	be32_store(f + 4, (uint32_t)(16 + len));
	be32_store(f + 8, id);
	be32_store(f + 12, 0);
	memcpy(f + 16, json, len);
	feed(false, f, 16 + len, next());
}

/* A frame whose header is mostly right. */
static void feed_io(void)
{
	static const uint16_t sizes[] = {0, 1, 4, 15, 4096, 65535, 100, 4};
	static uint8_t f[16 + 65536];
	uint8_t a = next(), b = next();
	uint32_t len = sizes[b & 7] + (uint32_t)(b >> 7);

	memset(f, 0, 32);
	be64_store(f, a & 7);
	f[8] = a >> 3 & 7;
	be32_store(f + 12, len);
	be32_store(f + 16, next());
	feed(true, f, 16 + len, (size_t)next() * 257);
}

static void feed_raw(bool io)
{
	size_t n = next();
	const uint8_t *p = in;

	n = n < left ? n : left;
	in += n; /* first: callbacks take from it too */
	left -= n;
	feed(io, p, n, n / 2);
}

static void sent(bool io, size_t n)
{
	size_t len;

	if (io)
		(void)link_io_output(l, &len);
	else
		(void)link_ctl_output(l, &len);
	n = n < len ? n : len;
	if (io)
		link_io_sent(l, n);
	else
		link_ctl_sent(l, n);
}

static void shake_hands(void)
{
	int rc;

	if (is_agent) {
		rc = link_announce(l, "{\"protocol\":{\"min\":1,\"max\":1}}");
		(void)rc;
		feed_ctl(LINK_VERSION, 1, "{\"protocol\":1}");
	} else {
		feed_ctl(LINK_READY, 0, "{\"protocol\":{\"min\":1,\"max\":1}}");
		feed_ctl(LINK_ACK, 1, "");
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t flags;

	in = data;
	left = size;
	memset(outstanding, 0, sizeof(outstanding));
	broken = false;
	last_id = 0;
	depth = 0;
	flags = next();
	is_agent = flags & 1;
	eager = flags & 2;
	reopen = flags >> 4 & 7;
	l = link_new(is_agent ? LINK_AGENT : LINK_HOST, &ops, NULL);
	if (!l)
		return 0;
	if (flags & 4)
		shake_hands();
	while (left) {
		uint8_t op = next();

		switch (op & 7) {
		case 0:
			feed_raw(op & 8);
			break;
		case 1:
		case 2:
			feed_io();
			break;
		case 3:
			feed_ctl(op >> 3, next(), "{\"x\":1}");
			break;
		case 4:
			sent(op & 8, (size_t)next() * 4096);
			break;
		default:
			act();
			break;
		}
	}
	link_free(l);
	return 0;
}
