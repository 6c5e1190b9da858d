/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens and sessions of the proxy, and what goes to their shims. See proxy.h and proxy_int.h. */
#include "mux/proxy_int.h"

#include <stdlib.h>
#include <string.h>

void proxy_session_drop(struct proxy *p, struct session *s)
{
	for (size_t i = 0; i < p->req_cnt; i++)
		if (p->reqs[i].s == s)
			p->reqs[i].s = NULL;
	for (size_t i = 0; i < p->session_cnt; i++) {
		if (p->sessions[i] != s)
			continue;
		p->sessions[i] = p->sessions[--p->session_cnt];
		break;
	}
	free(s->held_json);
	free(s);
}

struct session *proxy_session_of_base(struct proxy *p, uint64_t base)
{
	for (size_t i = 0; base && i < p->session_cnt; i++)
		if (p->sessions[i]->base == base)
			return p->sessions[i];
	return NULL;
}

struct session *proxy_session_of_token(struct proxy *p, const char *token)
{
	for (size_t i = 0; i < p->session_cnt; i++)
		if (strcmp(p->sessions[i]->token, token) == 0)
			return p->sessions[i];
	return NULL;
}

void proxy_shim_lost(struct proxy *p, struct client *c)
{
	struct session *s = proxy_session_of_base(p, c->shim_base);

	c->shim_base = 0;
	c->stdin_until = 0;
	if (!s || s->shim != c->handle)
		return;
	s->shim = 0;
	p->ops->shim_connected(p->ctx, s->base, false);
}

uint64_t proxy_next_base(struct proxy *p)
{
	uint64_t base = p->next_base;

	p->next_base += 2;
	return base;
}

static void token_make(struct proxy *p, char out[PROXY_TOKEN_LEN + 1])
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	uint8_t raw[33] = {0};
	char *o = out;

	p->ops->random(p->ctx, raw, 32);
	for (unsigned i = 0; i < 33; i += 3) {
		uint32_t v = (uint32_t)raw[i] << 16 | (uint32_t)raw[i + 1] << 8 | raw[i + 2];

		for (int shift = 18; shift >= 0; shift -= 6)
			*o++ = digits[v >> shift & 63];
	}
	out[PROXY_TOKEN_LEN - 1] = '='; /* 32 bytes leave one group of two */
	out[PROXY_TOKEN_LEN] = '\0';
}

/* Nobody holds on to it: no shim and no command, and its process was never started or has ended. */
static bool is_idle(const struct session *s)
{
	return !s->shim && !s->held_json && (!s->started || s->ended);
}

size_t proxy_session_room(const struct proxy *p)
{
	size_t n = SESSIONS_MAX - p->session_cnt;

	for (size_t i = 0; i < p->session_cnt; i++)
		n += is_idle(p->sessions[i]);
	return n;
}

/* Tokens that were asked for and never used would fill the table for good: the oldest makes room.
 */
static bool drop_oldest(struct proxy *p)
{
	struct session *old = NULL;

	for (size_t i = 0; i < p->session_cnt; i++) {
		struct session *s = p->sessions[i];

		if (is_idle(s) && (!old || s->base < old->base))
			old = s;
	}
	if (old)
		proxy_session_drop(p, old);
	return old != NULL;
}

struct session *proxy_session_new(struct proxy *p)
{
	struct session *s;

	if (p->session_cnt == SESSIONS_MAX && !drop_oldest(p))
		return NULL;
	if (p->session_cnt == p->session_cap) {
		size_t cap = p->session_cap ? p->session_cap * 2 : 8;
		struct session **n = realloc(p->sessions, cap * sizeof(struct session *));

		if (!n)
			return NULL;
		p->sessions = n;
		p->session_cap = cap;
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	token_make(p, s->token);
	s->base = proxy_next_base(p);
	p->sessions[p->session_cnt++] = s;
	return s;
}

void proxy_hyper_go(struct proxy *p, proxy_req_t req, uint32_t cmd, uint64_t base, const char *json)
{
	struct session *s = proxy_session_of_base(p, base);

	if (s)
		s->started = true;
	p->ops->hyper(p->ctx, req, cmd, base, json, strlen(json));
}

void proxy_session_running(struct proxy *p, uint64_t base)
{
	struct session *s = proxy_session_of_base(p, base);
	struct client *c = s && s->running ? proxy_client_of(p, s->shim) : NULL;
	proxy_client_t h = s ? s->shim : 0;

	if (!c)
		return;
	if (c->held_req) {
		proxy_req_t req = c->held_req;

		c->held_req = 0;
		p->ops->shim_signal(p->ctx, req, base, c->held_signo, c->held_cols, c->held_rows);
	}
	proxy_parse(p, h);
}

/* ---- towards shims ------------------------------------------------------------------------ */

bool proxy_has_shim(struct proxy *p, uint64_t base)
{
	struct session *s = proxy_session_of_base(p, base);

	return s && s->shim;
}

void proxy_stdin_hold(struct proxy *p, uint64_t base, bool hold)
{
	struct session *s = proxy_session_of_base(p, base);

	if (!s || s->stdin_held == hold)
		return;
	s->stdin_held = hold;
	if (!hold)
		proxy_parse(p, s->shim);
}

size_t proxy_shim_output(struct proxy *p, uint64_t base, enum proxy_stream which, const void *data,
			 size_t len)
{
	struct session *s = proxy_session_of_base(p, base);
	struct client *c = s ? proxy_client_of(p, s->shim) : NULL;
	size_t n = MIN(len, OUT_SOFT);

	if (!s)
		return len;
	if (!c || c->closing || !len)
		return 0;
	if (c->out.len >= OUT_SOFT) {
		c->full = true;
		return 0;
	}
	c->full = n < len;
	proxy_stream_out(p, c, (uint8_t)which, data, n);
	return n;
}

void proxy_shim_exited(struct proxy *p, uint64_t base, uint8_t status)
{
	struct session *s = proxy_session_of_base(p, base);
	proxy_client_t h = s ? s->shim : 0;
	struct client *c;

	if (!s || s->ended)
		return;
	s->ended = true;
	s->status = status;
	c = proxy_client_of(p, h);
	if (!c)
		return;
	proxy_notify_exit(p, c, status);
	proxy_parse(p, h); /* stdin that waited is dropped */
}
