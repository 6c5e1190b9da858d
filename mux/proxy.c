/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's side of the proxy protocol: connections, tokens, sessions. See proxy.h.
 *
 * A session is one process of the guest and has a token, which a client gets with AttachVM:
 *
 *   allocated --ConnectShim--> claimed --DisconnectShim or exit--> gone
 *       ^                         |
 *       +-------shim is lost------+      (a new shim may claim it)
 *
 * It is `started` once its newcontainer or execcmd has been sent to the agent. What needs the other side
 * waits at most PROXY_HOLD_NS: the command for its shim, the shim's signal for the process. KILL and TERM
 * for a process that was never started end its shim with status 0.
 *
 * Handles of clients and requests carry a serial number, so a late answer for a connection that is gone
 * finds nobody.
 */
#include "mux/proxy.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/endian.h"
#include "base/fd.h"
#include "mux/link.h"

#define CLIENTS_MAX  1024u
#define SESSIONS_MAX 4096u
#define OUT_SOFT     (256u << 10) /* output of one client beyond which stream data waits */
#define SIGNO_MAX    64
#define SIGNO_WINCH  28
#define SIGNO_KILL   9
#define SIGNO_TERM   15

enum hold { HOLD_NONE, HOLD_COMMAND, HOLD_SIGNAL };

struct session {
	char token[PROXY_TOKEN_LEN + 1];
	uint64_t base;
	proxy_client_t shim; /* 0 = none */
	bool started;
	bool ended;
	/* A Hyper command that waits for the shim. */
	proxy_req_t held_req;
	uint32_t held_cmd;
	char *held_json;
	uint64_t held_until;
};

struct client {
	proxy_client_t handle; /* 0 = free place */
	struct buf in, out;
	bool attached;
	bool closing;
	bool full; /* a shim's output was refused for lack of room */
	uint32_t open_reqs;
	uint64_t shim_base; /* 0 = not a shim */
	/* A Signal that waits for the process. */
	proxy_req_t held_req;
	int held_signo;
	uint16_t held_cols, held_rows;
	uint64_t held_until;
};

/* A request that has been passed on: who asked, with which opcode. */
struct request {
	proxy_req_t id;
	proxy_client_t client;
	uint8_t opcode;
	struct session *s; /* of newcontainer and execcmd */
};

struct proxy {
	char *id, *url;
	const struct proxy_ops *ops;
	void *ctx;
	uint64_t now;
	uint64_t serial, next_base;
	proxy_req_t next_req;
	struct client *clients[CLIENTS_MAX];
	unsigned client_cnt; /* places in use, holes included */
	struct session **sessions;
	size_t session_cnt, session_cap;
	struct request *reqs;
	size_t req_cnt, req_cap;
};

static const struct {
	const char *name;
	uint32_t cmd;
	bool process; /* takes a token */
} hyper_cmds[] = {
	{"startpod", LINK_STARTPOD, false},
	{"newcontainer", LINK_NEWCONTAINER, true},
	{"execcmd", LINK_EXECCMD, true},
	{"killcontainer", LINK_KILLCONTAINER, false},
	{"removecontainer", LINK_REMOVECONTAINER, false},
	{"pscontainer", LINK_PSCONTAINER, false},
	{"winsize", LINK_WINSIZE, false},
	{"ping", LINK_PING, false},
	{"destroypod", LINK_DESTROYPOD, false},
	{"onlinecpumem", LINK_ONLINECPUMEM, false},
};

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
static struct client *client_of(struct proxy *p, proxy_client_t h)
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

static void session_drop(struct proxy *p, struct session *s)
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

static struct session *session_of_base(struct proxy *p, uint64_t base)
{
	for (size_t i = 0; base && i < p->session_cnt; i++)
		if (p->sessions[i]->base == base)
			return p->sessions[i];
	return NULL;
}

static struct session *session_of_token(struct proxy *p, const char *token)
{
	for (size_t i = 0; i < p->session_cnt; i++)
		if (strcmp(p->sessions[i]->token, token) == 0)
			return p->sessions[i];
	return NULL;
}

static void shim_lost(struct proxy *p, struct client *c)
{
	struct session *s = session_of_base(p, c->shim_base);

	c->shim_base = 0;
	if (!s || s->shim != c->handle)
		return;
	s->shim = 0;
	p->ops->shim_connected(p->ctx, s->base, false);
}

void proxy_disconnect(struct proxy *p, proxy_client_t h)
{
	struct client *c = client_of(p, h);

	if (!c)
		return;
	shim_lost(p, c);
	for (size_t i = 0; i < p->session_cnt; i++) {
		struct session *s = p->sessions[i];

		/* Nobody would hear of a held command any more. */
		if (s->held_req && s->held_json && s->held_req != 0)
			for (size_t k = 0; k < p->req_cnt; k++)
				if (p->reqs[k].id == s->held_req && p->reqs[k].client == h) {
					free(s->held_json);
					s->held_json = NULL;
					s->held_req = 0;
					break;
				}
	}
	for (size_t i = p->req_cnt; i-- > 0;)
		if (p->reqs[i].client == h && !p->reqs[i].s)
			p->reqs[i] = p->reqs[--p->req_cnt];
	p->clients[h % CLIENTS_MAX] = NULL;
	client_free(c);
}

/* ---- output ---------------------------------------------------------------------------------------- */

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

static void respond_error(struct proxy *p, struct client *c, uint8_t opcode, const char *fmt, ...)
	PRINTF_LIKE(4, 5);

static void put_error(struct proxy *p, struct client *c, uint8_t opcode, const char *text)
{
	struct json_object *o = json_object_new_object();
	const char *json;

	json_object_object_add(o, "msg", json_object_new_string(text));
	json = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	send_frame(p, c, PROXY_RESPONSE, opcode, true, json, strlen(json));
	json_object_put(o);
}

static void respond_error(struct proxy *p, struct client *c, uint8_t opcode, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	put_error(p, c, opcode, text);
}

static void respond(struct proxy *p, struct client *c, uint8_t opcode, const void *payload, size_t len)
{
	send_frame(p, c, PROXY_RESPONSE, opcode, false, payload, len);
}

const void *proxy_output(struct proxy *p, proxy_client_t h, size_t *len)
{
	struct client *c = client_of(p, h);

	*len = 0;
	return c ? buf_peek(&c->out, len) : NULL;
}

void proxy_sent(struct proxy *p, proxy_client_t h, size_t len)
{
	struct client *c = client_of(p, h);

	if (!c)
		return;
	buf_consume(&c->out, len);
	if (c->full && c->out.len < OUT_SOFT && c->shim_base) {
		c->full = false;
		p->ops->shim_connected(p->ctx, c->shim_base, true); /* output may flow again */
	}
}

bool proxy_wants_close(struct proxy *p, proxy_client_t h)
{
	struct client *c = client_of(p, h);

	return c && c->closing && c->out.len == 0;
}

static void hang_up(struct proxy *p, struct client *c)
{
	c->closing = true;
	p->ops->output(p->ctx, c->handle);
}

/* ---- requests that were passed on --------------------------------------------------------------- */

static proxy_req_t request_new(struct proxy *p, struct client *c, uint8_t opcode, struct session *s)
{
	if (p->req_cnt == p->req_cap) {
		size_t cap = p->req_cap ? p->req_cap * 2 : 16;
		struct request *r = realloc(p->reqs, cap * sizeof(*r));

		if (!r)
			return 0;
		p->reqs = r;
		p->req_cap = cap;
	}
	p->reqs[p->req_cnt++] = (struct request){
		.id = p->next_req, .client = c->handle, .opcode = opcode, .s = s};
	c->open_reqs++;
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
		c = client_of(p, ret->client);
		if (c)
			c->open_reqs--;
		return true;
	}
	return false;
}

void proxy_reply(struct proxy *p, proxy_req_t req, const void *payload, size_t len)
{
	struct request r;
	struct client *c;

	if (!request_take(p, req, &r))
		return;
	c = client_of(p, r.client);
	if (c)
		respond(p, c, r.opcode, payload, len);
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
	c = client_of(p, r.client);
	if (!c)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	put_error(p, c, r.opcode, text);
}

/* ---- JSON of a command ---------------------------------------------------------------------------- */

static struct json_object *parse(const char *json, size_t len)
{
	struct json_tokener *t = json_tokener_new();
	struct json_object *o = NULL;

	if (!t || len > INT32_MAX)
		goto out;
	json_tokener_set_flags(t, JSON_TOKENER_STRICT);
	o = json_tokener_parse_ex(t, json, (int)len);
	if (json_tokener_get_error(t) != json_tokener_success || !json_object_is_type(o, json_type_object)) {
		json_object_put(o);
		o = NULL;
	}
out:
	if (t)
		json_tokener_free(t);
	return o;
}

static const char *str_of(struct json_object *o, const char *key)
{
	struct json_object *v;

	if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_string))
		return NULL;
	return json_object_get_string(v);
}

/* An integer member in [lo, hi]; @dflt when absent; false when it is something else. */
static bool int_of(struct json_object *o, const char *key, int64_t dflt, int64_t lo, int64_t hi,
		   int64_t *ret)
{
	struct json_object *v;

	*ret = dflt;
	if (!json_object_object_get_ex(o, key, &v))
		return true;
	if (!json_object_is_type(v, json_type_int))
		return false;
	*ret = json_object_get_int64(v);
	return *ret >= lo && *ret <= hi;
}

/* ---- commands --------------------------------------------------------------------------------------- */

uint64_t proxy_next_base(struct proxy *p)
{
	uint64_t base = p->next_base;

	p->next_base += 2;
	return base;
}

static void token_make(struct proxy *p, char out[PROXY_TOKEN_LEN + 1])
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
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

static struct session *session_new(struct proxy *p)
{
	struct session *s;

	if (p->session_cnt == SESSIONS_MAX)
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

static void cmd_attach(struct proxy *p, struct client *c, struct json_object *o)
{
	const char *id = str_of(o, "containerId"), *json;
	struct json_object *ans, *io, *tokens = NULL;
	int64_t n;

	if (!id)
		return respond_error(p, c, PROXY_ATTACH_VM, "malformed AttachVM command");
	if (strcmp(id, p->id) != 0)
		return respond_error(p, c, PROXY_ATTACH_VM, "unknown containerID: %s", id);
	if (!int_of(o, "numIOStreams", 0, INT32_MIN, SESSIONS_MAX, &n))
		return respond_error(p, c, PROXY_ATTACH_VM, "AttachVM: numIOStreams is not a number up to %u",
				     SESSIONS_MAX);
	if (n > 0 && (uint64_t)n > SESSIONS_MAX - p->session_cnt)
		return respond_error(p, c, PROXY_ATTACH_VM, "AttachVM: too many sessions");
	if (n > 0)
		tokens = json_object_new_array();
	for (int64_t i = 0; i < n; i++) {
		struct session *s = session_new(p);

		if (!s) {
			json_object_put(tokens);
			return respond_error(p, c, PROXY_ATTACH_VM, "AttachVM: out of memory");
		}
		json_object_array_add(tokens, json_object_new_string(s->token));
	}
	c->attached = true;
	ans = json_object_new_object();
	io = json_object_new_object();
	json_object_object_add(ans, "io", io);
	json_object_object_add(io, "URL", json_object_new_string(p->url));
	json_object_object_add(io, "tokens", tokens);
	json = json_object_to_json_string_ext(ans, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	respond(p, c, PROXY_ATTACH_VM, json, strlen(json));
	json_object_put(ans);
}

/* Passes a command on; the session, if any, counts as started from here. */
static void hyper_go(struct proxy *p, proxy_req_t req, uint32_t cmd, struct session *s,
		     const char *json)
{
	uint64_t base = 0;

	if (s) {
		s->started = true;
		base = s->base;
	}
	p->ops->hyper(p->ctx, req, cmd, base, json, strlen(json));
	if (!s)
		return;
	for (unsigned i = 0; i < p->client_cnt; i++) {
		struct client *k = p->clients[i];
		proxy_req_t held = k ? k->held_req : 0;

		/* A signal of the shim that waited for its process. */
		if (!held || k->shim_base != base)
			continue;
		k->held_req = 0;
		p->ops->shim_signal(p->ctx, held, base, k->held_signo, k->held_cols, k->held_rows);
	}
}

/* Puts the stream numbers where the agent looks for them. */
static const char *with_base(struct json_object *data, uint64_t base)
{
	json_object_object_add(data, "base", json_object_new_int64((int64_t)base));
	return json_object_to_json_string_ext(data, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
}

/* The one token of a command, if there is one. False: an error has been sent. */
static bool hyper_token(struct proxy *p, struct client *c, struct json_object *o, const char *name,
			bool process, struct session **ret)
{
	struct json_object *list = NULL, *t;
	size_t n = 0;

	*ret = NULL;
	if (json_object_object_get_ex(o, "tokens", &list) && list) {
		if (!json_object_is_type(list, json_type_array)) {
			respond_error(p, c, PROXY_HYPER, "Hyper: tokens is not an array");
			return false;
		}
		n = json_object_array_length(list);
	}
	if (process && n > 1)
		respond_error(p, c, PROXY_HYPER, "expected 0 or 1 token, got %zu", n);
	else if (!process && n)
		respond_error(p, c, PROXY_HYPER, "%s doesn't need tokens but %zu token(s) were given", name, n);
	if (n > (process ? 1u : 0u))
		return false;
	if (n == 0)
		return true;
	t = json_object_array_get_idx(list, 0);
	if (json_object_is_type(t, json_type_string))
		*ret = session_of_token(p, json_object_get_string(t));
	if (!*ret) {
		respond_error(p, c, PROXY_HYPER, "unknown token %s", json_object_get_string(t));
		return false;
	}
	if ((*ret)->started || (*ret)->held_json) {
		respond_error(p, c, PROXY_HYPER, "token already used: %s", (*ret)->token);
		return false;
	}
	return true;
}

static void cmd_hyper(struct proxy *p, struct client *c, struct json_object *o)
{
	const char *name = str_of(o, "hyperName"), *json = "{}";
	struct json_object *data = NULL;
	struct session *s;
	proxy_req_t req;
	unsigned i = 0;

	if (!c->attached)
		return respond_error(p, c, PROXY_HYPER, "client not attached to a vm");
	while (name && i < ARRAY_LEN(hyper_cmds) && strcmp(hyper_cmds[i].name, name) != 0)
		i++;
	if (!name || i == ARRAY_LEN(hyper_cmds))
		return respond_error(p, c, PROXY_HYPER, "unknown command '%s'", name ? name : "");
	if (!hyper_token(p, c, o, name, hyper_cmds[i].process, &s))
		return;
	if (json_object_object_get_ex(o, "data", &data) && data &&
	    !json_object_is_type(data, json_type_object))
		return respond_error(p, c, PROXY_HYPER, "%s: data is not an object", name);
	if (hyper_cmds[i].process) {
		if (!data)
			return respond_error(p, c, PROXY_HYPER, "%s: no data", name);
		json = with_base(data, s ? s->base : 0);
	} else if (data) {
		json = json_object_to_json_string_ext(data,
						      JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	}
	req = request_new(p, c, PROXY_HYPER, s);
	if (!req)
		return respond_error(p, c, PROXY_HYPER, "%s: out of memory", name);
	if (!s || s->shim)
		return hyper_go(p, req, hyper_cmds[i].cmd, s, json);
	s->held_json = strdup(json);
	if (!s->held_json)
		return proxy_reply_error(p, req, "%s: out of memory", name);
	s->held_req = req;
	s->held_cmd = hyper_cmds[i].cmd;
	s->held_until = p->now + PROXY_HOLD_NS;
}

static void cmd_connect_shim(struct proxy *p, struct client *c, struct json_object *o)
{
	const char *token = str_of(o, "token");
	struct session *s = token ? session_of_token(p, token) : NULL;

	if (!s)
		return respond_error(p, c, PROXY_CONNECT_SHIM, "unknown token: %s", token ? token : "");
	if (s->shim)
		return respond_error(p, c, PROXY_CONNECT_SHIM, "token already claimed: %s", token);
	if (c->shim_base)
		return respond_error(p, c, PROXY_CONNECT_SHIM, "client is a shim already");
	s->shim = c->handle;
	c->shim_base = s->base;
	respond(p, c, PROXY_CONNECT_SHIM, NULL, 0);
	if (s->held_json) {
		char *json = ptr_take(s->held_json);
		proxy_req_t req = s->held_req;

		s->held_req = 0;
		hyper_go(p, req, s->held_cmd, s, json);
		free(json);
	}
	p->ops->shim_connected(p->ctx, s->base, true);
}

static void cmd_disconnect_shim(struct proxy *p, struct client *c)
{
	struct session *s = session_of_base(p, c->shim_base);

	if (!s)
		return respond_error(p, c, PROXY_DISCONNECT_SHIM, "client isn't a shim");
	shim_lost(p, c);
	if (s->ended)
		session_drop(p, s);
	hang_up(p, c);
}

static void cmd_signal(struct proxy *p, struct client *c, struct json_object *o)
{
	struct session *s = session_of_base(p, c->shim_base);
	int64_t signo, cols, rows;
	proxy_req_t req;

	if (!s)
		return respond_error(p, c, PROXY_SIGNAL, "client isn't a shim");
	if (!int_of(o, "signalNumber", -1, 0, SIGNO_MAX, &signo) || signo < 0)
		return respond_error(p, c, PROXY_SIGNAL, "invalid signal number %lld", (long long)signo);
	if (!int_of(o, "columns", 0, 0, UINT16_MAX, &cols) || !int_of(o, "rows", 0, 0, UINT16_MAX, &rows))
		return respond_error(p, c, PROXY_SIGNAL, "invalid window size");
	if (signo == SIGNO_WINCH ? !cols || !rows : cols || rows)
		return respond_error(p, c, PROXY_SIGNAL, "a window size goes with SIGWINCH and only with it");
	if (!s->started && (signo == SIGNO_KILL || signo == SIGNO_TERM)) {
		proxy_shim_exited(p, s->base, 0);
		return respond(p, c, PROXY_SIGNAL, NULL, 0);
	}
	if (c->held_req)
		return respond_error(p, c, PROXY_SIGNAL, "another signal waits for the process already");
	req = request_new(p, c, PROXY_SIGNAL, NULL);
	if (!req)
		return respond_error(p, c, PROXY_SIGNAL, "out of memory");
	if (s->started)
		return p->ops->shim_signal(p->ctx, req, s->base, (int)signo, (uint16_t)cols, (uint16_t)rows);
	c->held_req = req;
	c->held_signo = (int)signo;
	c->held_cols = (uint16_t)cols;
	c->held_rows = (uint16_t)rows;
	c->held_until = p->now + PROXY_HOLD_NS;
}

static void command(struct proxy *p, struct client *c, uint8_t opcode, const char *payload, size_t len)
{
	struct json_object *o;
	proxy_req_t req;

	if (opcode == PROXY_DISCONNECT_SHIM)
		return cmd_disconnect_shim(p, c);
	if (opcode == PROXY_REGISTER_VM || opcode == PROXY_UNREGISTER_VM)
		return respond_error(p, c, opcode,
				     "%s: this socket serves one sandbox; registering belongs to the "
				     "host-wide proxy",
				     opcode == PROXY_REGISTER_VM ? "RegisterVM" : "UnregisterVM");
	o = parse(payload, len);
	if (!o)
		return respond_error(p, c, opcode, "the command's payload is not a JSON object");
	switch (opcode) {
	case PROXY_ATTACH_VM:
		cmd_attach(p, c, o);
		break;
	case PROXY_HYPER:
		cmd_hyper(p, c, o);
		break;
	case PROXY_CONNECT_SHIM:
		cmd_connect_shim(p, c, o);
		break;
	case PROXY_SIGNAL:
		cmd_signal(p, c, o);
		break;
	default: /* PROXY_HUSK */
		req = request_new(p, c, opcode, NULL);
		if (req)
			p->ops->husk(p->ctx, c->handle, req, payload, len);
		else
			respond_error(p, c, opcode, "out of memory");
		break;
	}
	json_object_put(o);
}

static bool log_is_valid(const char *payload, size_t len)
{
	struct json_object *o = parse(payload, len);
	const char *src = o ? str_of(o, "source") : NULL, *lvl = o ? str_of(o, "level") : NULL;
	const char *msg = o ? str_of(o, "msg") : NULL;
	bool ok = src && lvl && msg && *msg && (!strcmp(src, "shim") || !strcmp(src, "runtime")) &&
		  (!strcmp(lvl, "debug") || !strcmp(lvl, "info") || !strcmp(lvl, "warn") ||
		   !strcmp(lvl, "error"));

	json_object_put(o);
	return ok;
}

static void stream(struct proxy *p, struct client *c, uint8_t opcode, const char *payload, size_t len)
{
	struct session *s = session_of_base(p, c->shim_base);

	if (opcode == PROXY_STDIN && s)
		p->ops->shim_stdin(p->ctx, s->base, payload, len);
	else if (opcode != PROXY_LOG || !log_is_valid(payload, len))
		hang_up(p, c);
}

void proxy_input(struct proxy *p, proxy_client_t h, const void *data, size_t len, uint64_t now_ns)
{
	struct client *c = client_of(p, h);

	p->now = now_ns;
	if (!c || c->closing)
		return;
	if (buf_append(&c->in, data, len) < 0)
		return hang_up(p, c);
	/* The client may go away inside of a callback: look it up each time. */
	while ((c = client_of(p, h)) && !c->closing) {
		struct proxy_header f;
		int rc = proxy_get_header(c->in.data, c->in.len, &f);
		auto_free char *payload = NULL;

		if (rc < 0)
			return hang_up(p, c);
		if (rc == 0 || c->in.len < (size_t)f.header_len + f.payload_len)
			return;
		payload = malloc((size_t)f.payload_len + 1);
		if (!payload)
			return hang_up(p, c);
		memcpy(payload, c->in.data + f.header_len, f.payload_len);
		payload[f.payload_len] = '\0';
		buf_consume(&c->in, (size_t)f.header_len + f.payload_len);
		if (f.type == PROXY_COMMAND && f.opcode <= PROXY_HUSK)
			command(p, c, f.opcode, payload, f.payload_len);
		else if (f.type == PROXY_STREAM)
			stream(p, c, f.opcode, payload, f.payload_len);
		else
			hang_up(p, c);
	}
}

/* ---- time ------------------------------------------------------------------------------------------- */

uint64_t proxy_tick(struct proxy *p, uint64_t now_ns)
{
	uint64_t next = UINT64_MAX;

	p->now = now_ns;
	for (size_t i = 0; i < p->session_cnt; i++) {
		struct session *s = p->sessions[i];

		if (!s->held_json)
			continue;
		if (s->held_until > now_ns) {
			next = MIN(next, s->held_until);
			continue;
		}
		free(s->held_json);
		s->held_json = NULL;
		proxy_reply_error(p, s->held_req, "timeout waiting for shim with token %s", s->token);
		s->held_req = 0;
	}
	for (unsigned i = 0; i < p->client_cnt; i++) {
		struct client *c = p->clients[i];
		proxy_req_t req = c ? c->held_req : 0;

		if (!req)
			continue;
		if (c->held_until > now_ns) {
			next = MIN(next, c->held_until);
			continue;
		}
		c->held_req = 0;
		proxy_reply_error(p, req, "timeout waiting for process with token");
	}
	return next;
}

/* ---- towards shims ---------------------------------------------------------------------------------- */

bool proxy_has_shim(struct proxy *p, uint64_t base)
{
	struct session *s = session_of_base(p, base);

	return s && s->shim;
}

size_t proxy_shim_output(struct proxy *p, uint64_t base, enum proxy_stream which, const void *data,
			 size_t len)
{
	struct session *s = session_of_base(p, base);
	struct client *c = s ? client_of(p, s->shim) : NULL;

	if (!c || c->closing)
		return 0;
	if (c->out.len >= OUT_SOFT) {
		c->full = true;
		return 0;
	}
	if (len > OUT_SOFT)
		len = OUT_SOFT;
	send_frame(p, c, PROXY_STREAM, (uint8_t)which, false, data, len);
	return len;
}

void proxy_shim_exited(struct proxy *p, uint64_t base, uint8_t status)
{
	struct session *s = session_of_base(p, base);
	struct client *c = s ? client_of(p, s->shim) : NULL;

	if (!s)
		return;
	s->ended = true;
	if (c)
		send_frame(p, c, PROXY_NOTIFY, PROXY_EXITED, false, &status, 1);
}
