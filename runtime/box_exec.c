/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Execs in the sandbox process. A client that asks for one hands over descriptors and becomes its
 * stand-in: it is answered when the process runs or cannot, it may send signals and sizes, and it is
 * told the exit status after the last byte. A client that goes away takes its process with it.
 * docs/agent-protocol.md has the messages.
 *
 * An exec that comes while the container is being made waits for it.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "runtime/box_priv.h"

static void refuse(struct box *b, struct proc *p, int status, const char *text)
{
	box_answer(b, p->req, status, text);
	proc_free(p);
}

static void kill_base(struct box *b, uint64_t base, int signo, bool group, proxy_req_t req)
{
	char json[128 + 256];

	(void)snprintf(json, sizeof(json),
		       "{\"container\":\"%s\",\"base\":%" PRIu64
		       ",\"signal\":%d,\"processGroup\":%s}",
		       b->state->id, base, signo, group ? "true" : "false");
	box_relay(b, LINK_KILLCONTAINER, json, req);
}

static void executed(struct box *b, uint64_t base, const struct box_reply *r)
{
	struct proc *p = proc_find(&b->procs, base);

	if (!p)
		return;
	if (!r->ok) {
		refuse(b, p, r->status, r->text);
		return;
	}
	box_pass_on(b, p->req, r);
	p->req = 0;
	proc_started(p);
}

/* It runs after all, when nobody waits for it any more. */
static void executed_late(struct box *b, uint64_t base)
{
	kill_base(b, base, SIGKILL, true, 0);
}

static void send_exec(struct box *b, struct proc *p)
{
	auto_json o = json_object_new_object();
	int rc = proc_open(p, proxy_next_base(clients_proxy(b->clients)));

	json_add_str(o, "container", b->state->id);
	json_add_i64(o, "base", (int64_t)p->base);
	(void)json_object_object_add(o, "process", json_object_get(p->process));
	if (rc == 0)
		rc = box_ask(b, &(struct wants_ask){.cmd = LINK_EXECCMD,
						    .json = json_object_to_json_string_ext(
							o, JSON_C_TO_STRING_PLAIN),
						    .fn = executed,
						    .late = executed_late,
						    .arg = p->base});
	json_put_ptr(&p->process);
	if (rc < 0)
		refuse(b, p, 1, strerror(-rc));
}

void box_execs_go(struct box *b)
{
	list_for_each_safe (pos, next, &b->procs.list) {
		struct proc *p = list_entry(pos, struct proc, node);

		if (p->process)
			send_exec(b, p);
	}
}

void box_cmd_exec(struct box *b, const struct box_call *c)
{
	struct json_object *process = json_at(c->o, "process");
	bool tty = process && json_flag(process, "terminal", false);
	unsigned want = tty ? 2 : 3, n;
	int fds[3] = {-1, -1, -1};
	bool paused = box_is_paused(b) && !json_flag(c->o, "ignorePaused", false);
	struct proc *p;

	n = clients_take_fds(b->clients, c->client, fds, 3);
	if (!process || n != want || proc_of_client(&b->procs, c->client) ||
	    b->phase >= BOX_DRAINING || paused) {
		for (unsigned i = 0; i < n; i++)
			(void)close(fds[i]);
		box_answer(b, c->req, 1,
			   b->phase >= BOX_DRAINING ? "container not running"
			   : !process		    ? "exec: no process"
			   : paused ? "container paused: --ignore-paused waits for its resumption"
			   : n != want ? "exec: the descriptors of its streams are missing"
				       : "exec: a connection has one");
		return;
	}
	p = proc_new(&b->procs, fds, tty);
	if (!p) {
		box_answer(b, c->req, 1, "exec: too many processes, or out of memory");
		return;
	}
	p->client = c->client;
	p->req = c->req;
	p->process = json_object_get(process);
	p->standin = (pid_t)json_i64(c->o, "pid", 0);
	if (b->phase == BOX_RUNNING || b->prep == BOX_MADE)
		send_exec(b, p);
	else if (b->phase == BOX_GATED)
		box_prepare(b);
}

/* ---- signals and sizes ----------------------------------------------------------------------- */

void box_cmd_signal(struct box *b, const struct box_call *c)
{
	const struct proc *p = proc_of_client(&b->procs, c->client);
	int64_t signo = json_i64(c->o, "signal", 0);

	if (!p || !p->base)
		box_answer(b, c->req, 1, "signal: this connection has no process");
	else if (signo < 1 || signo > 64)
		box_answer(b, c->req, 1, "signal: not a signal");
	else
		kill_base(b, p->base, (int)signo, false, c->req);
}

void box_winsize(struct box *b, const struct proc *p, int64_t rows, int64_t cols, proxy_req_t req)
{
	char json[128];

	(void)snprintf(json, sizeof(json),
		       "{\"seq\":%" PRIu64 ",\"row\":%" PRId64 ",\"column\":%" PRId64 "}", p->base,
		       rows, cols);
	box_relay(b, LINK_WINSIZE, json, req);
}

void box_cmd_winsize(struct box *b, const struct box_call *c)
{
	const struct proc *p = proc_of_client(&b->procs, c->client);
	int64_t rows = json_i64(c->o, "row", 0), cols = json_i64(c->o, "column", 0);

	if (!p || !p->base || !p->tty)
		box_answer(b, c->req, 1, "winsize: this connection has no terminal");
	else if (rows < 1 || cols < 1 || rows > UINT16_MAX || cols > UINT16_MAX)
		box_answer(b, c->req, 1, "winsize: not a size");
	else
		box_winsize(b, p, rows, cols, c->req);
}

/* ---- ends ------------------------------------------------------------------------------------ */

/*
 * Killed or returned: its process is not to outlive its stand-in. Nor are that one's children, since
 * conmon's time limit kills a process group, of which only the stand-in is on this side.
 */
void box_client_gone(void *ctx, proxy_client_t client)
{
	struct box *b = ctx;
	struct proc *p = proc_of_client(&b->procs, client);

	if (!p)
		return;
	p->client = 0;
	p->req = 0;
	if (!p->base)
		proc_free(p);
	else if (!p->exited && !p->ended && !b->dead)
		kill_base(b, p->base, SIGKILL, true, 0);
}

void box_exec_over(struct box *b, struct proc *p)
{
	if (p->client)
		proxy_tell_exited(clients_proxy(b->clients), p->client, (uint8_t)p->status);
	proc_free(p);
}

bool box_execs_alive(const struct box *b)
{
	list_for_each (pos, &b->procs.list) {
		const struct proc *p = list_entry(pos, struct proc, node);

		if (p != b->init && p->base && !p->exited && !p->ended)
			return true;
	}
	return false;
}

void box_execs_end(struct box *b, const char *why)
{
	list_for_each_safe (pos, next, &b->procs.list) {
		struct proc *p = list_entry(pos, struct proc, node);

		if (p == b->init)
			continue;
		if (!p->base)
			refuse(b, p, 1, why);
		else if (p->started)
			proc_end(p, 128 + SIGKILL); /* the others: box_give_up() */
	}
	box_go_on(b);
}

void box_execs_discard(struct box *b)
{
	list_for_each (pos, &b->procs.list) {
		struct proc *p = list_entry(pos, struct proc, node);

		if (p != b->init)
			proc_discard(p);
	}
}
