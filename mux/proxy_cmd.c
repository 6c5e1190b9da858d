/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON commands of the proxy protocol and its log stream. See proxy.h and proxy_int.h. */
#include "mux/proxy_int.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "mux/link.h"

#define SIGNO_MAX   64
#define SIGNO_WINCH 28
#define SIGNO_KILL  9
#define SIGNO_TERM  15

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

/* ---- JSON of a command -------------------------------------------------------------------- */

static struct json_object *parse(const char *json, size_t len)
{
	struct json_tokener *t = json_tokener_new();
	struct json_object *o = NULL;

	if (!t || len > INT32_MAX)
		goto out;
	json_tokener_set_flags(t, JSON_TOKENER_STRICT);
	o = json_tokener_parse_ex(t, json, (int)len);
	if (json_tokener_get_error(t) != json_tokener_success ||
	    !json_object_is_type(o, json_type_object)) {
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

/* ---- commands ----------------------------------------------------------------------------- */

static void cmd_attach(struct proxy *p, struct client *c, struct json_object *o)
{
	const char *id = str_of(o, "containerId"), *json;
	struct json_object *ans, *io, *tokens = NULL;
	int64_t n;

	if (!id)
		return proxy_respond_error(p, c, PROXY_ATTACH_VM, "malformed AttachVM command");
	if (strcmp(id, p->id) != 0)
		return proxy_respond_error(p, c, PROXY_ATTACH_VM, "unknown containerID: %s", id);
	if (!int_of(o, "numIOStreams", 0, INT32_MIN, SESSIONS_MAX, &n))
		return proxy_respond_error(p, c, PROXY_ATTACH_VM,
					   "AttachVM: numIOStreams is not a number up to %u",
					   SESSIONS_MAX);
	if (n > 0 && (uint64_t)n > proxy_session_room(p))
		return proxy_respond_error(p, c, PROXY_ATTACH_VM, "AttachVM: too many sessions");
	if (n > 0)
		tokens = json_object_new_array();
	for (int64_t i = 0; i < n; i++) {
		struct session *s = proxy_session_new(p);

		if (!s) {
			json_object_put(tokens);
			return proxy_respond_error(p, c, PROXY_ATTACH_VM,
						   "AttachVM: out of memory");
		}
		json_object_array_add(tokens, json_object_new_string(s->token));
	}
	c->attached = true;
	ans = json_object_new_object();
	io = json_object_new_object();
	json_object_object_add(ans, "io", io);
	json_object_object_add(io, "URL", json_object_new_string(p->url));
	json_object_object_add(io, "tokens", tokens);
	json = json_object_to_json_string_ext(ans, JSON_C_TO_STRING_PLAIN |
						       JSON_C_TO_STRING_NOSLASHESCAPE);
	proxy_respond(p, c, PROXY_ATTACH_VM, json, strlen(json));
	json_object_put(ans);
}

/* Puts the stream numbers where the agent looks for them. */
static const char *with_base(struct json_object *data, uint64_t base)
{
	json_object_object_add(data, "base", json_object_new_int64((int64_t)base));
	return json_object_to_json_string_ext(data, JSON_C_TO_STRING_PLAIN |
							JSON_C_TO_STRING_NOSLASHESCAPE);
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
			proxy_respond_error(p, c, PROXY_HYPER, "Hyper: tokens is not an array");
			return false;
		}
		n = json_object_array_length(list);
	}
	if (process && n > 1)
		proxy_respond_error(p, c, PROXY_HYPER, "expected 0 or 1 token, got %zu", n);
	else if (!process && n)
		proxy_respond_error(p, c, PROXY_HYPER,
				    "%s doesn't need tokens but %zu token(s) were given", name, n);
	if (n > (process ? 1u : 0u))
		return false;
	if (n == 0)
		return true;
	t = json_object_array_get_idx(list, 0);
	if (json_object_is_type(t, json_type_string))
		*ret = proxy_session_of_token(p, json_object_get_string(t));
	if (!*ret) {
		proxy_respond_error(p, c, PROXY_HYPER, "unknown token %s",
				    t ? json_object_get_string(t) : "null");
		return false;
	}
	if ((*ret)->started || (*ret)->ended || (*ret)->held_json) {
		proxy_respond_error(p, c, PROXY_HYPER, "token already used: %s", (*ret)->token);
		return false;
	}
	return true;
}

/* The stream numbers of a process are the proxy's to choose. False: an error has been sent. */
static bool streams_unset(struct proxy *p, struct client *c, struct json_object *data)
{
	static const char *const keys[][2] = {{"stdio", "Stdio"}, {"stderr", "Stderr"}};
	struct json_object *proc, *v;

	if (!json_object_object_get_ex(data, "process", &proc))
		return true;
	for (unsigned i = 0; i < ARRAY_LEN(keys); i++) {
		if (!json_object_object_get_ex(proc, keys[i][0], &v) ||
		    (json_object_is_type(v, json_type_int) && json_object_get_int64(v) == 0))
			continue;
		proxy_respond_error(p, c, PROXY_HYPER, "expected process.%s to be 0, got %s",
				    keys[i][1], v ? json_object_get_string(v) : "null");
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
		return proxy_respond_error(p, c, PROXY_HYPER, "client not attached to a vm");
	while (name && i < ARRAY_LEN(hyper_cmds) && strcmp(hyper_cmds[i].name, name) != 0)
		i++;
	if (!name || i == ARRAY_LEN(hyper_cmds))
		return proxy_respond_error(p, c, PROXY_HYPER, "unknown command '%s'",
					   name ? name : "");
	if (!hyper_token(p, c, o, name, hyper_cmds[i].process, &s))
		return;
	if (json_object_object_get_ex(o, "data", &data) && data &&
	    !json_object_is_type(data, json_type_object))
		return proxy_respond_error(p, c, PROXY_HYPER, "%s: data is not an object", name);
	if (hyper_cmds[i].process) {
		if (!data)
			return proxy_respond_error(p, c, PROXY_HYPER, "%s: no data", name);
		if (!streams_unset(p, c, data))
			return;
		json = with_base(data, s ? s->base : 0);
	} else if (data) {
		json = json_object_to_json_string_ext(data, JSON_C_TO_STRING_PLAIN |
								JSON_C_TO_STRING_NOSLASHESCAPE);
	}
	req = proxy_request_new(p, c, PROXY_HYPER, s);
	if (!req)
		return proxy_respond_error(p, c, PROXY_HYPER, "%s: out of memory", name);
	if (!s || s->shim)
		return proxy_hyper_go(p, req, hyper_cmds[i].cmd, s ? s->base : 0, json);
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
	struct session *s = token ? proxy_session_of_token(p, token) : NULL;
	proxy_client_t h = c->handle;
	uint64_t base;

	if (!s)
		return proxy_respond_error(p, c, PROXY_CONNECT_SHIM, "unknown token: %s",
					   token ? token : "");
	if (s->shim)
		return proxy_respond_error(p, c, PROXY_CONNECT_SHIM, "token already claimed: %s",
					   token);
	if (c->shim_base)
		return proxy_respond_error(p, c, PROXY_CONNECT_SHIM, "client is a shim already");
	base = s->base;
	s->shim = h;
	c->shim_base = base;
	proxy_respond(p, c, PROXY_CONNECT_SHIM, NULL, 0);
	s = proxy_session_of_base(p, base);
	if (s && s->shim == h && s->held_json) {
		auto_free char *json = ptr_take(s->held_json);
		proxy_req_t req = s->held_req;

		s->held_req = 0;
		proxy_hyper_go(p, req, s->held_cmd, base, json);
	}
	s = proxy_session_of_base(p, base);
	if (s && s->shim == h)
		p->ops->shim_connected(p->ctx, base, true);
	/* An exit that no shim has confirmed yet, after the output that the carrier kept. */
	s = proxy_session_of_base(p, base);
	c = proxy_client_of(p, h);
	if (c && s && s->shim == h && s->ended)
		proxy_notify_exit(p, c, s->status);
}

static void cmd_disconnect_shim(struct proxy *p, struct client *c)
{
	struct session *s = proxy_session_of_base(p, c->shim_base);
	proxy_client_t h = c->handle;
	uint64_t base;

	if (!s)
		return proxy_respond_error(p, c, PROXY_DISCONNECT_SHIM, "client isn't a shim");
	base = s->base;
	c->shim_base = 0;
	proxy_session_drop(p, s);
	/* Nobody will ever claim it again, so output must not wait: it is taken and dropped. */
	p->ops->shim_connected(p->ctx, base, true);
	c = proxy_client_of(p, h);
	if (c)
		proxy_hang_up(p, c);
}

static void cmd_signal(struct proxy *p, struct client *c, struct json_object *o)
{
	struct session *s = proxy_session_of_base(p, c->shim_base);
	int64_t signo, cols, rows;
	proxy_req_t req;

	if (!s)
		return proxy_respond_error(p, c, PROXY_SIGNAL, "client isn't a shim");
	if (!int_of(o, "signalNumber", -1, 0, SIGNO_MAX, &signo) || signo < 0)
		return proxy_respond_error(p, c, PROXY_SIGNAL, "invalid signal number %lld",
					   (long long)signo);
	if (!int_of(o, "columns", 0, 0, UINT16_MAX, &cols) ||
	    !int_of(o, "rows", 0, 0, UINT16_MAX, &rows))
		return proxy_respond_error(p, c, PROXY_SIGNAL, "invalid window size");
	if (signo == SIGNO_WINCH ? !cols || !rows : cols || rows)
		return proxy_respond_error(p, c, PROXY_SIGNAL,
					   "a window size goes with SIGWINCH and only with it");
	if (!s->started && (signo == SIGNO_KILL || signo == SIGNO_TERM)) {
		proxy_client_t h = c->handle;

		proxy_shim_exited(p, s->base, 0);
		c = proxy_client_of(p, h);
		if (c)
			proxy_respond(p, c, PROXY_SIGNAL, NULL, 0);
		return;
	}
	if (c->held_req)
		return proxy_respond_error(p, c, PROXY_SIGNAL,
					   "another signal waits for the process already");
	req = proxy_request_new(p, c, PROXY_SIGNAL, NULL);
	if (!req)
		return proxy_respond_error(p, c, PROXY_SIGNAL, "out of memory");
	if (s->running)
		return p->ops->shim_signal(p->ctx, req, s->base, (int)signo, (uint16_t)cols,
					   (uint16_t)rows);
	c->held_req = req;
	c->held_signo = (int)signo;
	c->held_cols = (uint16_t)cols;
	c->held_rows = (uint16_t)rows;
	c->held_until = p->now + PROXY_HOLD_NS;
}

void proxy_command(struct proxy *p, struct client *c, uint8_t opcode, const char *payload,
		   size_t len)
{
	struct json_object *o;
	proxy_req_t req;

	if (opcode == PROXY_DISCONNECT_SHIM)
		return cmd_disconnect_shim(p, c);
	if (opcode == PROXY_REGISTER_VM || opcode == PROXY_UNREGISTER_VM)
		return proxy_respond_error(
		    p, c, opcode,
		    "%s: this socket serves one sandbox; registering belongs to the "
		    "host-wide proxy",
		    opcode == PROXY_REGISTER_VM ? "RegisterVM" : "UnregisterVM");
	o = parse(payload, len);
	if (!o)
		return proxy_respond_error(p, c, opcode,
					   "the command's payload is not a JSON object");
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
		req = proxy_request_new(p, c, opcode, NULL);
		if (req)
			p->ops->husk(p->ctx, c->handle, req, payload, len);
		else
			proxy_respond_error(p, c, opcode, "out of memory");
		break;
	}
	json_object_put(o);
}

bool proxy_log_is_valid(const char *payload, size_t len)
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
