/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent link: framing, handshake, request ids, streams with credits. See link.h.
 *
 * Input is consumed as it comes. Control frames are gathered whole in a buffer that grows to the
 * size that the header announces (at most LINK_CTL_MAX); stream payload is never gathered, it goes
 * to data() in the pieces it arrives in.
 *
 * A stream, per direction:      sender                                   receiver
 *   credit: LINK_WINDOW   --DATA(n), credit -= n-->   window -= n, data()
 *   credit += n           <--------CREDIT(n)-------   window += n on link_consumed(n)
 *   --EOF--> no DATA after it            <--CLOSED-- receiver takes no more: DATA is dropped
 *
 * A receiver holds the sender to its window: more than that is a violation. EXIT is a frame like
 * DATA in the sender's order, so it cannot overtake output.
 *
 * Output collects in one buffer per channel. Stream data is accepted only while the I/O buffer is
 * below OUT_SOFT (the last that is accepted may exceed it by one window); credits, EOF and EXIT
 * always are (their number is bounded by what was sent before).
 *
 * A callback may open and close streams, which moves `streams`: no struct stream is used after one.
 */
#include "mux/link.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/endian.h"
#include "base/fd.h"

#define CTL_HDR	     16u
#define IO_HDR	     16u
#define OUT_SOFT     (512u << 10)
#define OUT_HARD     (8u << 20)	 /* a peer that sends and never reads */
#define CTL_OUT_HARD (64u << 20) /* a peer that takes no requests */
#define REQUESTS_MAX 65536u	 /* unanswered ones */

enum io_type {
	IO_DATA = 0,
	IO_EOF = 1,
	IO_CREDIT = 2,
	IO_EXIT = 3,
	IO_CLOSED = 4,
	IO_TYPE_MAX = 4
};

/* Credits are returned in steps, not for each small write. */
#define CREDIT_STEP (LINK_WINDOW / 4)

struct stream {
	uint64_t id;
	uint32_t credit;  /* what we may send */
	uint32_t window;  /* what the peer may still send */
	uint32_t owed;	  /* consumed and not yet returned */
	bool wants_write; /* link_send() was short */
	bool eof_sent;
	bool eof_seen;
	bool peer_closed; /* the peer takes no more */
	bool we_closed;	  /* we take no more: drop what comes */
	bool exited;	  /* host: EXIT has come, nothing may follow it */
};

struct link {
	enum link_side side;
	const struct link_ops *ops;
	void *ctx;
	enum { ST_NEW, ST_HELLO, ST_UP, ST_BROKEN } state;
	uint32_t next_id;
	uint32_t *asked; /* host: ids without an answer, unordered */
	size_t asked_cnt, asked_cap;

	uint8_t ctl_hdr[CTL_HDR];
	size_t ctl_hdr_len;
	struct buf ctl_in; /* payload being gathered */
	struct buf hello;  /* host: READY's text, until the link is up */
	size_t ctl_need;

	uint8_t io_hdr[IO_HDR];
	size_t io_hdr_len;
	uint32_t io_left; /* payload bytes of the current frame to come */
	uint8_t io_type;
	uint64_t io_stream;
	bool io_drop;	     /* the stream was not open when the frame began */
	uint8_t io_small[4]; /* payload of CREDIT and EXIT */
	uint32_t io_small_len;

	struct buf ctl_out, io_out;
	struct stream *streams; /* open ones, unordered */
	size_t stream_cnt, stream_cap;
	size_t wanting; /* streams with wants_write */
	size_t wake_at; /* where the next round of wake-ups goes on, so that all get their turn */
	bool waking;
};

struct link *link_new(enum link_side side, const struct link_ops *ops, void *ctx)
{
	struct link *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->side = side;
	l->ops = ops;
	l->ctx = ctx;
	l->next_id = 1;
	return l;
}

void link_free(struct link *l)
{
	if (!l)
		return;
	buf_free(&l->ctl_in);
	buf_free(&l->hello);
	buf_free(&l->ctl_out);
	buf_free(&l->io_out);
	free(l->streams);
	free(l->asked);
	free(l);
}

bool link_is_up(const struct link *l)
{
	return l->state == ST_UP;
}

static void fail(struct link *l, const char *why)
{
	if (l->state == ST_BROKEN)
		return;
	l->state = ST_BROKEN;
	l->ops->broken(l->ctx, why);
}

/* ---- control channel ---------------------------------------------------------------------- */

static int ctl_send(struct link *l, uint32_t code, uint32_t id, const char *json)
{
	size_t len = json ? strlen(json) : 0;
	uint8_t *p;

	if (len > LINK_CTL_MAX - CTL_HDR)
		return -EMSGSIZE;
	if (l->ctl_out.len > CTL_OUT_HARD)
		return -ENOBUFS;
	p = buf_extend(&l->ctl_out, CTL_HDR + len);
	if (!p)
		return -ENOMEM;
	be32_store(p, code);
	be32_store(p + 4, (uint32_t)(CTL_HDR + len));
	be32_store(p + 8, id);
	be32_store(p + 12, 0);
	if (len)
		memcpy(p + CTL_HDR, json, len);
	return 0;
}

/* The number in {"protocol": n}, or in READY's {"protocol": {"min":a,"max":b}}: 0 = none. */
static unsigned protocol_of(const char *json, bool range)
{
	struct json_object *o = json_tokener_parse(json), *p = NULL, *lo = NULL, *hi = NULL;
	unsigned v = 0;

	if (o && json_object_object_get_ex(o, "protocol", &p)) {
		if (!range && json_object_is_type(p, json_type_int) &&
		    json_object_get_int64(p) == LINK_PROTOCOL)
			v = LINK_PROTOCOL;
		if (range && json_object_object_get_ex(p, "min", &lo) &&
		    json_object_object_get_ex(p, "max", &hi) &&
		    json_object_is_type(lo, json_type_int) &&
		    json_object_is_type(hi, json_type_int) &&
		    json_object_get_int64(lo) <= LINK_PROTOCOL &&
		    json_object_get_int64(hi) >= LINK_PROTOCOL)
			v = LINK_PROTOCOL;
	}
	json_object_put(o);
	return v;
}

/* Takes @id out of the requests that wait for an answer. */
static bool was_asked(struct link *l, uint32_t id)
{
	for (size_t i = 0; i < l->asked_cnt; i++) {
		if (l->asked[i] != id)
			continue;
		l->asked[i] = l->asked[--l->asked_cnt];
		return true;
	}
	return false;
}

static void host_frame(struct link *l, uint32_t code, uint32_t id, const char *json, size_t len)
{
	char hello[32];

	if (l->state == ST_NEW) {
		if (code != LINK_READY || id != 0)
			return fail(l, "the agent's first message is not READY");
		if (!protocol_of(json, true))
			return fail(l, "the agent does not speak protocol 1");
		(void)snprintf(hello, sizeof(hello), "{\"protocol\":%u}", LINK_PROTOCOL);
		l->state = ST_HELLO;
		if (buf_append(&l->hello, json, len + 1) < 0 ||
		    ctl_send(l, LINK_VERSION, l->next_id++, hello) < 0)
			fail(l, "out of memory");
		return;
	}
	if (l->state == ST_HELLO) {
		if (code != LINK_ACK || id != 1)
			return fail(l, "the agent did not accept the protocol version");
		l->state = ST_UP;
		l->ops->up(l->ctx, (const char *)l->hello.data, l->hello.len - 1);
		buf_free(&l->hello);
		return;
	}
	if ((code == LINK_ACK || code == LINK_ERROR) && id != 0) {
		if (!was_asked(l, id))
			return fail(l, "the agent answered what was not asked");
		return l->ops->reply(l->ctx, id, code == LINK_ACK, json, len);
	}
	if (code == LINK_EVENT && id == 0) {
		if (l->ops->event)
			l->ops->event(l->ctx, json, len);
		return;
	}
	fail(l, "the agent sent a control message that it may not send");
}

static void agent_frame(struct link *l, uint32_t code, uint32_t id, const char *json, size_t len)
{
	if (id == 0)
		return fail(l, "a request without an id");
	if (l->state == ST_HELLO) {
		if (code != LINK_VERSION || !protocol_of(json, false))
			return fail(l, "the host does not speak protocol 1");
		l->state = ST_UP;
		if (ctl_send(l, LINK_ACK, id, NULL) < 0)
			return fail(l, "out of memory");
		if (l->ops->up)
			l->ops->up(l->ctx, json, len);
		return;
	}
	if (l->state != ST_UP)
		return fail(l, "a request before READY");
	if (code == LINK_ACK || code == LINK_ERROR || code == LINK_READY || code == LINK_EVENT)
		return fail(l, "a reply where a request is due");
	l->ops->request(l->ctx, id, code, json, len);
}

static void ctl_frame(struct link *l)
{
	uint32_t code = be32_load(l->ctl_hdr), id = be32_load(l->ctl_hdr + 8);
	size_t len = l->ctl_in.len;
	uint8_t *nul = buf_extend(&l->ctl_in, 1);

	if (!nul)
		return fail(l, "out of memory");
	*nul = '\0';
	if (l->side == LINK_HOST)
		host_frame(l, code, id, (const char *)l->ctl_in.data, len);
	else
		agent_frame(l, code, id, (const char *)l->ctl_in.data, len);
}

void link_ctl_input(struct link *l, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len && l->state != ST_BROKEN) {
		size_t n;

		if (l->ctl_hdr_len < CTL_HDR) {
			uint32_t total;

			n = MIN(len, CTL_HDR - l->ctl_hdr_len);
			memcpy(l->ctl_hdr + l->ctl_hdr_len, p, n);
			l->ctl_hdr_len += n;
			p += n;
			len -= n;
			if (l->ctl_hdr_len < CTL_HDR)
				return;
			total = be32_load(l->ctl_hdr + 4);
			if (total < CTL_HDR || total > LINK_CTL_MAX || be32_load(l->ctl_hdr + 12))
				return fail(l, "a control frame with a bad header");
			l->ctl_need = total - CTL_HDR;
		}
		n = MIN(len, l->ctl_need - l->ctl_in.len);
		/* Grows with what has arrived, not with what was announced. */
		if (n && buf_append(&l->ctl_in, p, n) < 0)
			return fail(l, "out of memory");
		p += n;
		len -= n;
		if (l->ctl_in.len == l->ctl_need) {
			ctl_frame(l);
			l->ctl_hdr_len = 0;
			buf_reset(&l->ctl_in);
		}
	}
}

const void *link_ctl_output(struct link *l, size_t *len)
{
	return buf_peek(&l->ctl_out, len);
}

void link_ctl_sent(struct link *l, size_t len)
{
	buf_consume(&l->ctl_out, len);
}

int link_announce(struct link *l, const char *json)
{
	int rc;

	if (l->state == ST_BROKEN) /* the host spoke first */
		return -ENOTCONN;
	BUG_ON(l->side != LINK_AGENT || l->state != ST_NEW);
	rc = ctl_send(l, LINK_READY, 0, json);
	if (rc == 0)
		l->state = ST_HELLO;
	return rc;
}

static bool is_asked(const struct link *l, uint32_t id)
{
	for (size_t i = 0; i < l->asked_cnt; i++)
		if (l->asked[i] == id)
			return true;
	return false;
}

int link_request(struct link *l, uint32_t cmd, const char *json, uint32_t *ret_id)
{
	int rc;

	BUG_ON(l->side != LINK_HOST);
	if (l->state != ST_UP)
		return -ENOTCONN;
	if (l->asked_cnt == REQUESTS_MAX)
		return -ENOBUFS;
	if (l->asked_cnt == l->asked_cap) {
		size_t cap = l->asked_cap ? l->asked_cap * 2 : 16;
		uint32_t *n = realloc(l->asked, cap * sizeof(*n));

		if (!n)
			return -ENOMEM;
		l->asked = n;
		l->asked_cap = cap;
	}
	while (l->next_id == 0 || is_asked(l, l->next_id))
		l->next_id++;
	rc = ctl_send(l, cmd, l->next_id, json);
	if (rc < 0)
		return rc;
	l->asked[l->asked_cnt++] = l->next_id;
	*ret_id = l->next_id++;
	return 0;
}

int link_reply(struct link *l, uint32_t id, bool ok, const char *json)
{
	if (l->state != ST_UP)
		return -ENOTCONN;
	return ctl_send(l, ok ? LINK_ACK : LINK_ERROR, id, json);
}

int link_event(struct link *l, const char *json)
{
	if (l->state != ST_UP)
		return -ENOTCONN;
	return ctl_send(l, LINK_EVENT, 0, json);
}

/* ---- streams ------------------------------------------------------------------------------ */

static struct stream *find(struct link *l, uint64_t id)
{
	for (size_t i = 0; i < l->stream_cnt; i++)
		if (l->streams[i].id == id)
			return &l->streams[i];
	return NULL;
}

int link_open(struct link *l, uint64_t id)
{
	if (find(l, id))
		return -EEXIST;
	if (l->stream_cnt == LINK_STREAMS_MAX)
		return -EMFILE;
	if (l->stream_cnt == l->stream_cap) {
		size_t cap = l->stream_cap ? l->stream_cap * 2 : 8;
		struct stream *s = realloc(l->streams, cap * sizeof(*s));

		if (!s)
			return -ENOMEM;
		l->streams = s;
		l->stream_cap = cap;
	}
	l->streams[l->stream_cnt++] =
	    (struct stream){.id = id, .credit = LINK_WINDOW, .window = LINK_WINDOW};
	return 0;
}

static void want_write(struct link *l, struct stream *s, bool want)
{
	if (s->wants_write == want)
		return;
	s->wants_write = want;
	if (want)
		l->wanting++;
	else
		l->wanting--;
}

void link_close(struct link *l, uint64_t id)
{
	struct stream *s = find(l, id);

	if (!s)
		return;
	want_write(l, s, false);
	*s = l->streams[--l->stream_cnt];
}

static uint8_t *io_frame(struct link *l, uint64_t id, enum io_type type, uint32_t len)
{
	uint8_t *p;

	if (l->io_out.len > OUT_HARD) {
		fail(l, "the other side does not read its I/O channel");
		return NULL;
	}
	p = buf_extend(&l->io_out, IO_HDR + len);
	if (!p) {
		fail(l, "out of memory");
		return NULL;
	}
	be64_store(p, id);
	p[8] = (uint8_t)type;
	p[9] = p[10] = p[11] = 0;
	be32_store(p + 12, len);
	return p + IO_HDR;
}

static void io_u32(struct link *l, uint64_t id, enum io_type type, uint32_t v)
{
	uint8_t *p = io_frame(l, id, type, 4);

	if (p)
		be32_store(p, v);
}

static size_t room(const struct link *l, const struct stream *s)
{
	if (l->state != ST_UP || s->eof_sent || s->peer_closed || l->io_out.len >= OUT_SOFT)
		return 0;
	return s->credit;
}

/* What is open to be sent now; if nothing is, writable() is owed, unless it can never come. */
static size_t room_or_want(struct link *l, struct stream *s, size_t wanted)
{
	size_t n = room(l, s);

	if (n < wanted && l->state == ST_UP && !s->eof_sent && !s->peer_closed)
		want_write(l, s, true);
	return MIN(n, wanted);
}

size_t link_send_room(struct link *l, uint64_t id)
{
	struct stream *s = find(l, id);
	size_t n = s ? room(l, s) : 0;

	if (s && n == 0)
		(void)room_or_want(l, s, 1);
	return n;
}

size_t link_send(struct link *l, uint64_t id, const void *data, size_t len)
{
	struct stream *s = find(l, id);
	const uint8_t *src = data;
	size_t total = 0, n;
	uint8_t *p;

	if (!s)
		return 0;
	len = room_or_want(l, s, len);
	while (total < len) {
		n = MIN(len - total, LINK_IO_MAX);
		/* A failure calls broken(), after which @s may have moved. */
		p = io_frame(l, id, IO_DATA, (uint32_t)n);
		if (!p)
			break;
		memcpy(p, src + total, n);
		s->credit -= (uint32_t)n;
		total += n;
	}
	return total;
}

void link_send_eof(struct link *l, uint64_t id)
{
	struct stream *s = find(l, id);

	if (!s || s->eof_sent || l->state != ST_UP)
		return;
	s->eof_sent = true;
	want_write(l, s, false);
	(void)io_frame(l, id, IO_EOF, 0);
}

void link_send_closed(struct link *l, uint64_t id)
{
	struct stream *s = find(l, id);

	if (!s || s->we_closed || l->state != ST_UP)
		return;
	s->we_closed = true;
	(void)io_frame(l, id, IO_CLOSED, 0);
}

void link_send_exit(struct link *l, uint64_t id, uint32_t status)
{
	BUG_ON(l->side != LINK_AGENT);
	if (l->state == ST_UP)
		io_u32(l, id, IO_EXIT, status);
}

void link_consumed(struct link *l, uint64_t id, size_t len)
{
	struct stream *s = find(l, id);
	uint32_t owed;

	if (!s || l->state != ST_UP)
		return;
	BUG_ON(len > LINK_WINDOW - s->window - s->owed);
	s->owed += (uint32_t)len;
	if (s->owed < CREDIT_STEP || s->eof_seen || s->exited)
		return;
	owed = s->owed;
	s->window += owed;
	s->owed = 0;
	io_u32(l, id, IO_CREDIT, owed);
}

const void *link_io_output(struct link *l, size_t *len)
{
	return buf_peek(&l->io_out, len);
}

/*
 * Tells streams that were refused for lack of room, now that there is some. Goes round from where
 * the last time ended, until it has passed all without anything to tell: a callback may open, close
 * and send, and closing moves a stream to another place. Each call uses up credit or a wish: it
 * ends.
 */
static void wake_writers(struct link *l)
{
	size_t quiet = 0;

	if (l->waking)
		return;
	l->waking = true;
	while (l->wanting && quiet < l->stream_cnt) {
		struct stream *s;

		l->wake_at = l->wake_at + 1 < l->stream_cnt ? l->wake_at + 1 : 0;
		s = &l->streams[l->wake_at];
		if (!s->wants_write || room(l, s) == 0) {
			quiet++;
			continue;
		}
		quiet = 0;
		want_write(l, s, false);
		l->ops->writable(l->ctx, s->id);
	}
	l->waking = false;
}

void link_io_sent(struct link *l, size_t len)
{
	bool was_full = l->io_out.len >= OUT_SOFT;

	buf_consume(&l->io_out, len);
	if (was_full && l->io_out.len < OUT_SOFT)
		wake_writers(l);
}

/* The header of a DATA frame: all of the payload is due to the stream, or none. */
static void data_begin(struct link *l)
{
	const struct stream *s = find(l, l->io_stream);

	if (l->io_left == 0 || l->io_left > LINK_IO_MAX)
		return fail(l, "a data frame of a forbidden size");
	l->io_drop = !s; /* closed here while it was on its way */
	if (!s)
		return;
	if (s->eof_seen || s->exited)
		return fail(l, "data after the end of a stream");
	if (l->io_left > s->window)
		fail(l, "more data than the window allows");
}

/* The whole header is there. */
static void io_begin(struct link *l)
{
	l->io_stream = be64_load(l->io_hdr);
	l->io_type = l->io_hdr[8];
	l->io_left = be32_load(l->io_hdr + 12);
	l->io_small_len = 0;
	if (l->io_type > IO_TYPE_MAX || l->io_hdr[9] || l->io_hdr[10] || l->io_hdr[11])
		return fail(l, "an I/O frame with a bad header");
	switch ((enum io_type)l->io_type) {
	case IO_DATA:
		data_begin(l);
		break;
	case IO_EOF:
	case IO_CLOSED:
		if (l->io_left)
			fail(l, "an I/O frame with a payload that it cannot have");
		break;
	case IO_EXIT:
		if (l->side != LINK_HOST)
			fail(l, "an exit status from the host");
		FALLTHROUGH;
	case IO_CREDIT:
		if (l->io_left != 4)
			fail(l, "an I/O frame of the wrong size");
		break;
	}
}

static void io_payload(struct link *l, const uint8_t *p, uint32_t n)
{
	struct stream *s;

	if (l->io_type != IO_DATA) {
		memcpy(l->io_small + l->io_small_len, p, n);
		l->io_small_len += n;
		return;
	}
	s = l->io_drop ? NULL : find(l, l->io_stream);
	if (!s)
		return;
	/* Again, for a number that was closed and opened anew in the middle of the frame. */
	if (n > s->window)
		return fail(l, "more data than the window allows");
	s->window -= n;
	if (s->we_closed) {
		link_consumed(l, l->io_stream, n);
		return;
	}
	l->ops->data(l->ctx, l->io_stream, p, n);
}

static void exit_frame(struct link *l, struct stream *s, uint32_t status)
{
	struct stream *err = find(l, s->id + 1);

	if (s->exited)
		return fail(l, "two ends of one process");
	s->exited = true;
	if (err)
		err->exited = true;
	l->ops->exited(l->ctx, s->id, status);
}

static void io_end(struct link *l)
{
	struct stream *s = find(l, l->io_stream);
	uint32_t v = l->io_small_len == 4 ? be32_load(l->io_small) : 0;

	if (!s)
		return;
	switch ((enum io_type)l->io_type) {
	case IO_EOF:
		if (s->eof_seen)
			return fail(l, "two ends of one stream");
		s->eof_seen = true;
		l->ops->eof(l->ctx, s->id);
		break;
	case IO_CREDIT:
		if (v > LINK_WINDOW - s->credit)
			return fail(l, "more credit than was used");
		s->credit += v;
		if (s->wants_write && room(l, s)) {
			want_write(l, s, false);
			l->ops->writable(l->ctx, s->id);
		}
		break;
	case IO_CLOSED:
		if (s->peer_closed)
			return fail(l, "a stream was closed twice");
		s->peer_closed = true;
		want_write(l, s, false);
		l->ops->closed(l->ctx, s->id);
		break;
	case IO_EXIT:
		exit_frame(l, s, v);
		break;
	case IO_DATA:
		break;
	}
}

void link_io_input(struct link *l, const void *data, size_t len)
{
	const uint8_t *p = data;

	if (l->state != ST_UP && l->state != ST_BROKEN && len)
		return fail(l, "stream data before the handshake");
	while (len && l->state != ST_BROKEN) {
		uint32_t n;

		if (l->io_hdr_len < IO_HDR) {
			n = (uint32_t)MIN(len, IO_HDR - l->io_hdr_len);
			memcpy(l->io_hdr + l->io_hdr_len, p, n);
			l->io_hdr_len += n;
			p += n;
			len -= n;
			if (l->io_hdr_len < IO_HDR)
				return;
			io_begin(l);
		}
		n = (uint32_t)MIN(len, l->io_left);
		if (n && l->state != ST_BROKEN)
			io_payload(l, p, n);
		p += n;
		len -= n;
		l->io_left -= n;
		if (l->io_left == 0 && l->state != ST_BROKEN) {
			l->io_hdr_len = 0;
			io_end(l);
		}
	}
}
