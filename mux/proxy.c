/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's side of the proxy protocol: connections, tokens, sessions. See proxy.h.
 *
 * A session is one process of the guest and has a token, which a client gets with AttachVM:
 *
 *   allocated --ConnectShim--> claimed --DisconnectShim--> gone
 *       ^                         |
 *       +-------shim is lost------+      (a new shim may claim it)
 *
 * It is `started` once its newcontainer or execcmd has been sent to the agent, `running` once that
 * is acknowledged. What needs the other side waits at most PROXY_HOLD_NS: the command for its shim,
 * the shim's signal and stdin for the process. KILL and TERM for a process that was never started
 * end its shim with status 0. An exit status is kept until a shim says DisconnectShim.
 *
 * Frames of one connection are handled in their order. A frame that has to wait (stdin, or a
 * command behind an unanswered Hyper, since answers have no ids) stays in the client's input, and
 * the carrier is told to read no more (proxy_wants_input()).
 *
 * Handles of clients and requests carry a serial number, so a late answer for a connection that is
 * gone finds nobody.
 */
#include "mux/proxy_int.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"

#define IN_HARD (2u * PROXY_PAYLOAD_MAX) /* a carrier that reads on though told not to */

struct proxy *proxy_new(const char *id, const char *url, const struct proxy_ops *ops, void *ctx)
{
	struct proxy *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->id = strdup(id);
	p->url = strdup(url);
	if (!p->id || !p->url) {
		proxy_free(p);
		return NULL;
	}
	p->ops = ops;
	p->ctx = ctx;
	p->next_base = 3; /* 1 and 2 are nobody's */
	p->next_req = 1;
	return p;
}

static void client_free(struct client *c)
{
	buf_free(&c->in);
	buf_free(&c->out);
	free(c);
}

void proxy_free(struct proxy *p)
{
	if (!p)
		return;
	for (unsigned i = 0; i < p->client_cnt; i++)
		if (p->clients[i])
			client_free(p->clients[i]);
	for (size_t i = 0; i < p->session_cnt; i++) {
		free(p->sessions[i]->held_json);
		free(p->sessions[i]);
	}
	free(p->sessions);
	free(p->reqs);
	free(p->id);
	free(p->url);
	free(p);
}

/* A handle is serial * CLIENTS_MAX + place. */
struct client *proxy_client_of(struct proxy *p, proxy_client_t h)
{
	unsigned i = (unsigned)(h % CLIENTS_MAX);

	if (h == 0 || i >= p->client_cnt || !p->clients[i] || p->clients[i]->handle != h)
		return NULL;
	return p->clients[i];
}

proxy_client_t proxy_connect(struct proxy *p)
{
	struct client *c;
	unsigned i = 0;

	while (i < p->client_cnt && p->clients[i])
		i++;
	if (i == CLIENTS_MAX)
		return 0;
	c = calloc(1, sizeof(*c));
	if (!c)
		return 0;
	c->handle = ++p->serial * CLIENTS_MAX + i;
	p->clients[i] = c;
	if (i == p->client_cnt)
		p->client_cnt++;
	return c->handle;
}

void proxy_disconnect(struct proxy *p, proxy_client_t h)
{
	struct client *c = proxy_client_of(p, h);

	if (!c)
		return;
	/* Out of reach first: the callback may come here again. */
	p->clients[h % CLIENTS_MAX] = NULL;
	for (size_t i = 0; i < p->session_cnt; i++) {
		struct session *s = p->sessions[i];

		/* Nobody would hear of a held command any more. */
		for (size_t k = 0; s->held_json && k < p->req_cnt; k++) {
			if (p->reqs[k].id != s->held_req || p->reqs[k].client != h)
				continue;
			free(ptr_take(s->held_json));
			s->held_req = 0;
			p->reqs[k].s = NULL;
		}
	}
	/* The answer to a started process still counts, for its session. */
	for (size_t i = p->req_cnt; i-- > 0;)
		if (p->reqs[i].client == h && !p->reqs[i].s)
			p->reqs[i] = p->reqs[--p->req_cnt];
	proxy_shim_lost(p, c);
	client_free(c);
}

/* ---- output ------------------------------------------------------------------------------- */

static void send_frame(struct proxy *p, struct client *c, uint8_t type, uint8_t opcode, bool error,
		       const void *payload, size_t len)
{
	uint8_t *at;

	if (c->closing)
		return;
	at = buf_extend(&c->out, PROXY_HEADER_LEN + len);
	if (!at) {
		c->closing = true;
	} else {
		proxy_put_header(at, type, opcode, error, (uint32_t)len);
		if (len)
			memcpy(at + PROXY_HEADER_LEN, payload, len);
	}
	p->ops->output(p->ctx, c->handle);
}

static void put_error(struct proxy *p, struct client *c, uint8_t opcode, const char *text)
{
	struct json_object *o = json_object_new_object();
	const char *json;

	json_object_object_add(o, "msg", json_object_new_string(text));
	json = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	if (json)
		send_frame(p, c, PROXY_RESPONSE, opcode, true, json, strlen(json));
	json_object_put(o);
}

void proxy_respond_error(struct proxy *p, struct client *c, uint8_t opcode, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	put_error(p, c, opcode, text);
}

void proxy_respond(struct proxy *p, struct client *c, uint8_t opcode, const void *payload,
		   size_t len)
{
	send_frame(p, c, PROXY_RESPONSE, opcode, false, payload, len);
}

void proxy_notify_exit(struct proxy *p, struct client *c, uint8_t status)
{
	send_frame(p, c, PROXY_NOTIFY, PROXY_EXITED, false, &status, 1);
}

void proxy_tell_exited(struct proxy *p, proxy_client_t h, uint8_t status)
{
	struct client *c = proxy_client_of(p, h);

	if (c)
		proxy_notify_exit(p, c, status);
}

void proxy_stream_out(struct proxy *p, struct client *c, uint8_t which, const void *data,
		      size_t len)
{
	send_frame(p, c, PROXY_STREAM, which, false, data, len);
}

const void *proxy_output(struct proxy *p, proxy_client_t h, size_t *len)
{
	struct client *c = proxy_client_of(p, h);

	*len = 0;
	return c ? buf_peek(&c->out, len) : NULL;
}

void proxy_sent(struct proxy *p, proxy_client_t h, size_t len)
{
	struct client *c = proxy_client_of(p, h);

	if (!c)
		return;
	buf_consume(&c->out, len);
	if (c->full && c->out.len < OUT_SOFT && c->shim_base) {
		c->full = false;
		p->ops->shim_connected(p->ctx, c->shim_base, true); /* output may flow again */
	}
	proxy_parse(p, h);
}

bool proxy_wants_close(struct proxy *p, proxy_client_t h)
{
	struct client *c = proxy_client_of(p, h);

	return c && c->closing && c->out.len == 0;
}

bool proxy_wants_input(struct proxy *p, proxy_client_t h)
{
	struct client *c = proxy_client_of(p, h);

	return c && !c->closing && !c->blocked;
}

void proxy_hang_up(struct proxy *p, struct client *c)
{
	proxy_client_t h = c->handle;

	c->closing = true;
	proxy_shim_lost(p, c);
	p->ops->output(p->ctx, h);
}

/* ---- requests that were passed on ---------------------------------------------------------------
 */

proxy_req_t proxy_request_new(struct proxy *p, struct client *c, uint8_t opcode, struct session *s)
{
	if (p->req_cnt == p->req_cap) {
		size_t cap = p->req_cap ? p->req_cap * 2 : 16;
		struct request *r = realloc(p->reqs, cap * sizeof(*r));

		if (!r)
			return 0;
		p->reqs = r;
		p->req_cap = cap;
	}
	p->reqs[p->req_cnt++] =
	    (struct request){.id = p->next_req, .client = c->handle, .opcode = opcode, .s = s};
	if (opcode == PROXY_HYPER)
		c->hypers++;
	return p->next_req++;
}

/* Takes the request out of the table: it is answered once. */
static bool request_take(struct proxy *p, proxy_req_t id, struct request *ret)
{
	for (size_t i = 0; i < p->req_cnt; i++) {
		struct client *c;

		if (p->reqs[i].id != id)
			continue;
		*ret = p->reqs[i];
		p->reqs[i] = p->reqs[--p->req_cnt];
		c = proxy_client_of(p, ret->client);
		if (c && ret->opcode == PROXY_HYPER)
			c->hypers--;
		return true;
	}
	return false;
}

void proxy_reply(struct proxy *p, proxy_req_t req, const void *payload, size_t len)
{
	struct request r;
	struct client *c;

	uint64_t base;

	if (!request_take(p, req, &r))
		return;
	base = r.s ? r.s->base : 0;
	if (r.s)
		r.s->running = true;
	c = proxy_client_of(p, r.client);
	if (c)
		proxy_respond(p, c, r.opcode, payload, len);
	if (base)
		proxy_session_running(p, base);
	proxy_parse(p, r.client);
}

void proxy_reply_error(struct proxy *p, proxy_req_t req, const char *fmt, ...)
{
	char text[1024];
	struct request r;
	struct client *c;
	va_list ap;

	if (!request_take(p, req, &r))
		return;
	if (r.s)
		r.s->started = false; /* the token may be used for another try */
	c = proxy_client_of(p, r.client);
	if (!c)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	put_error(p, c, r.opcode, text);
	proxy_parse(p, r.client);
}

/* ---- input -------------------------------------------------------------------------------- */

/* Passes on what may be of the stdin frame at the front. False: it has to wait. */
static bool stdin_frame(struct proxy *p, struct client *c, const struct proxy_header *f)
{
	struct session *s = proxy_session_of_base(p, c->shim_base);
	uint32_t n = MIN(f->payload_len - c->stdin_off, STDIN_PIECE);
	auto_free char *piece = NULL;

	if (!s) {
		proxy_hang_up(p, c);
		return false;
	}
	if (!s->running && !s->ended && !c->stdin_until)
		c->stdin_until = p->now + PROXY_HOLD_NS;
	if ((!s->running || s->stdin_held) && !s->ended) {
		c->blocked = true;
		return false;
	}
	c->stdin_until = 0;
	piece = malloc(n + 1u);
	if (!piece) {
		proxy_hang_up(p, c);
		return false;
	}
	memcpy(piece, c->in.data + f->header_len + c->stdin_off, n);
	c->stdin_off += n;
	if (c->stdin_off == f->payload_len) {
		c->stdin_off = 0;
		buf_consume(&c->in, (size_t)f->header_len + f->payload_len);
	}
	if (!s->ended)
		p->ops->shim_stdin(p->ctx, s->base, piece, n);
	return true;
}

/* Handles the frame at the front. False: there is none, or it has to wait. */
static bool one_frame(struct proxy *p, struct client *c)
{
	auto_free char *payload = NULL;
	struct proxy_header f;
	int rc = proxy_get_header(c->in.data, c->in.len, &f);

	if (rc < 0) {
		proxy_hang_up(p, c);
		return false;
	}
	if (rc == 0 || c->in.len < (size_t)f.header_len + f.payload_len)
		return false;
	if (f.type == PROXY_STREAM && f.opcode == PROXY_STDIN)
		return stdin_frame(p, c, &f);
	if (f.type == PROXY_COMMAND && (c->hypers || c->out.len >= OUT_HARD)) {
		c->blocked = true;
		return false;
	}
	payload = malloc((size_t)f.payload_len + 1);
	if (!payload) {
		proxy_hang_up(p, c);
		return false;
	}
	memcpy(payload, c->in.data + f.header_len, f.payload_len);
	payload[f.payload_len] = '\0';
	buf_consume(&c->in, (size_t)f.header_len + f.payload_len);
	if (f.type == PROXY_COMMAND && f.opcode <= PROXY_HUSK)
		proxy_command(p, c, f.opcode, payload, f.payload_len);
	else if (f.type != PROXY_STREAM || f.opcode != PROXY_LOG ||
		 !proxy_log_is_valid(payload, f.payload_len))
		proxy_hang_up(p, c);
	return true;
}

void proxy_parse(struct proxy *p, proxy_client_t h)
{
	struct client *c = proxy_client_of(p, h);
	bool was_blocked;

	/* An answer from inside of a callback: the loop further up goes on with it. */
	if (!c || c->parsing)
		return;
	was_blocked = c->blocked;
	c->parsing = true;
	do {
		c->blocked = false;
	} while (!c->closing && one_frame(p, c) && (c = proxy_client_of(p, h)));
	c = proxy_client_of(p, h);
	if (!c)
		return;
	c->parsing = false;
	if (was_blocked && !c->blocked && !c->closing)
		p->ops->output(p->ctx, h); /* it may be read from again */
}

void proxy_input(struct proxy *p, proxy_client_t h, const void *data, size_t len, uint64_t now_ns)
{
	struct client *c = proxy_client_of(p, h);

	p->now = now_ns;
	if (!c || c->closing)
		return;
	if (c->in.len > IN_HARD || buf_append(&c->in, data, len) < 0)
		return proxy_hang_up(p, c);
	proxy_parse(p, h);
}

/* ---- time --------------------------------------------------------------------------------- */

/* Ends one hold that has run out. False: there is none; *@next is when the first will. */
static bool expire_one(struct proxy *p, uint64_t *next)
{
	*next = UINT64_MAX;
	for (size_t i = 0; i < p->session_cnt; i++) {
		struct session *s = p->sessions[i];
		proxy_req_t req = s->held_req;

		if (s->held_json && s->held_until <= p->now) {
			free(ptr_take(s->held_json));
			s->held_req = 0;
			proxy_reply_error(p, req, "timeout waiting for shim with token %s",
					  s->token);
			return true;
		}
		if (s->held_json)
			*next = MIN(*next, s->held_until);
	}
	for (unsigned i = 0; i < p->client_cnt; i++) {
		struct client *c = p->clients[i];
		proxy_req_t req = c ? c->held_req : 0;

		if (req && c->held_until <= p->now) {
			c->held_req = 0;
			proxy_reply_error(p, req, "timeout waiting for process with token");
			return true;
		}
		if (req)
			*next = MIN(*next, c->held_until);
		if (!c || !c->stdin_until || c->closing)
			continue;
		if (c->stdin_until <= p->now) {
			c->stdin_until = 0;
			proxy_hang_up(p, c);
			return true;
		}
		*next = MIN(*next, c->stdin_until);
	}
	return false;
}

uint64_t proxy_tick(struct proxy *p, uint64_t now_ns)
{
	uint64_t next;

	p->now = now_ns;
	/* From the start each time: answers call back, which may change every table. */
	while (expire_one(p, &next))
		continue;
	return next;
}
