/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What clients of the sandbox process may ask for: the table of husk's own commands, and what the
 * proxy protocol's other commands mean here. See box_priv.h for how to add one.
 */
#include <errno.h>
#include <string.h>

#include "runtime/box_priv.h"

static box_cmd_fn box_cmd_ping;

static const struct {
	const char *op;
	box_cmd_fn *fn;
} cmds[] = {
    {"start", box_cmd_start},	{"kill", box_cmd_kill},	      {"exec", box_cmd_exec},
    {"signal", box_cmd_signal}, {"winsize", box_cmd_winsize}, {"pause", box_cmd_pause},
    {"resume", box_cmd_resume}, {"ps", box_cmd_ps},	      {"pids", box_cmd_pids},
    {"stats", box_cmd_stats},	{"update", box_cmd_update},   {"wait", box_cmd_wait},
    {"ping", box_cmd_ping},
};

/* ---- husk's own ------------------------------------------------------------------------------ */

void box_cmd_start(struct box *b, const struct box_call *c)
{
	box_start(b, c->req, json_flag(c->o, "wait", false));
}

void box_cmd_kill(struct box *b, const struct box_call *c)
{
	int64_t signo = json_i64(c->o, "signal", 0);

	if (signo < 1 || signo > 64)
		box_answer(b, c->req, 1, "kill: not a signal");
	else
		box_signal(b, (int)signo, json_flag(c->o, "all", false), c->req);
}

/* Whoever waits long for an answer asks whether this process is still at work: client.c. */
static void box_cmd_ping(struct box *b, const struct box_call *c)
{
	box_answer(b, c->req, 0, NULL);
}

static void dispatch(struct box *b, const struct box_call *c)
{
	const char *op = json_str(c->o, "op", "");

	for (size_t i = 0; i < ARRAY_LEN(cmds); i++)
		if (!strcmp(op, cmds[i].op)) {
			cmds[i].fn(b, c);
			return;
		}
	box_answer(b, c->req, 1, "unknown command");
}

bool box_defer(struct box *b, const struct box_call *c)
{
	if (b->phase != BOX_GATED || b->prep != BOX_MAKING || b->start_req || b->why_dead[0] ||
	    b->later_cnt == BOX_LATER_MAX)
		return false;
	b->later[b->later_cnt] = *c;
	b->later[b->later_cnt++].o = json_object_get(c->o);
	return true;
}

void box_go_on(struct box *b)
{
	unsigned cnt = b->later_cnt;
	struct box_call later[BOX_LATER_MAX];

	memcpy(later, b->later, sizeof(later));
	b->later_cnt = 0;
	for (unsigned i = 0; i < cnt; i++) {
		dispatch(b, &later[i]);
		json_object_put(later[i].o);
	}
}

static void husk_command(void *ctx, proxy_client_t client, proxy_req_t req, const char *json,
			 size_t len)
{
	struct box *b = ctx;
	struct box_call c = {.client = client, .req = req};
	struct err e = {0};
	auto_json o = NULL;

	if (json_parse(json, len, "command", &o, &e) < 0) {
		box_answer(b, req, 1, e.msg);
		return;
	}
	c.o = o;
	dispatch(b, &c);
}

/* ---- of the proxy protocol ------------------------------------------------------------------- */

static void hyper_answer(struct box *b, uint64_t req, const struct box_reply *r)
{
	if (r->ok)
		proxy_reply(clients_proxy(b->clients), req, r->json, r->len);
	else
		proxy_reply_error(clients_proxy(b->clients), req, "%s", r->text);
}

/* Commands of other clients go to the agent as they are, but for what belongs to husk itself. */
static void hyper_command(void *ctx, proxy_req_t req, uint32_t cmd, uint64_t base, const char *json,
			  size_t len)
{
	struct box *b = ctx;
	int rc = -ENOTSUP;

	(void)base;
	(void)len;
	if (cmd == LINK_PING || cmd == LINK_PSCONTAINER || cmd == LINK_KILLCONTAINER ||
	    cmd == LINK_WINSIZE)
		rc = box_request(b, cmd, json, hyper_answer, req);
	if (rc == -ENOTSUP)
		proxy_reply_error(clients_proxy(b->clients), req,
				  "this sandbox's containers are made by husk");
	else if (rc < 0)
		proxy_reply_error(clients_proxy(b->clients), req, "agent: %s", strerror(-rc));
}

static void shim_stdin(void *ctx, uint64_t base, const void *buf, size_t len)
{
	struct box *b = ctx;

	shim_in_stdin(&b->shims, base, buf, len);
	agentlink_flush(b->al);
}

/* No process here has a shim: hyper_command() makes none, so nothing can be connected to. */

static void shim_signal(void *ctx, proxy_req_t req, uint64_t base, int signo, uint16_t cols,
			uint16_t rows)
{
	struct box *b = ctx;

	(void)base;
	(void)signo;
	(void)cols;
	(void)rows;
	proxy_reply_error(clients_proxy(b->clients), req, "this shim has no process");
}

static void shim_connected(void *ctx, uint64_t base, bool connected)
{
	(void)ctx;
	(void)base;
	(void)connected;
}

static void clients_output(void *ctx, proxy_client_t client)
{
	struct box *b = ctx;

	(void)client;
	if (b->clients)
		clients_wake(b->clients);
}

const struct proxy_ops box_proxy_ops = {
    .hyper = hyper_command,
    .husk = husk_command,
    .shim_stdin = shim_stdin,
    .shim_signal = shim_signal,
    .shim_connected = shim_connected,
    .random = clients_random,
    .output = clients_output,
};
