/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox process's talk with the agent and with its clients, and the container's streams
 * between link and descriptors. See box.c for the states. docs/agent-protocol.md has the messages.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "runtime/b64.h"
#include "runtime/box_priv.h"

#define ROOT_TAG    "husk.root"
#define AGENT_NS    (120 * NS_PER_SEC)
#define ENTROPY_LEN 64u
#define WANTS_MAX   4096u /* requests without an answer: clients cannot pile up more */

/* ---- requests -------------------------------------------------------------------------------- */

int box_request(struct box *b, uint32_t cmd, const char *json, enum want what, proxy_req_t req)
{
	uint32_t id;
	int rc;

	if (b->dead)
		return -ESRCH;
	if (b->want_cnt == WANTS_MAX)
		return -EBUSY;
	if (b->want_cnt == b->want_cap) {
		size_t cap = b->want_cap ? 2 * b->want_cap : 16;
		struct box_want *w = realloc(b->wants, cap * sizeof(*w));

		if (!w)
			return -ENOMEM;
		b->wants = w;
		b->want_cap = cap;
	}
	rc = link_request(b->link, cmd, json, &id);
	if (rc < 0)
		return rc;
	b->wants[b->want_cnt++] = (struct box_want){.id = id, .what = what, .req = req};
	agentlink_flush(b->al);
	return 0;
}

void box_answer(struct box *b, proxy_req_t req, int status, const char *text)
{
	auto_json o = json_object_new_object();
	const char *json;

	if (!req)
		return;
	if (text) {
		json_add_str(o, "message", text);
		json_add_i64(o, "status", status);
	}
	json = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	proxy_reply(clients_proxy(b->clients), req, json, strlen(json));
}

void box_refuse_start(struct box *b, int status, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	box_answer(b, b->start_req, status, text);
	b->start_req = 0;
}

/* ---- start ----------------------------------------------------------------------------------- */

static int plug_root(struct box *b, uint64_t *ret_gpa, struct err *e)
{
	struct p9_config cfg = {.tag = ROOT_TAG, .pool = b->files};
	struct virtio_dev *dev;
	unsigned slot;
	int rc;

	/* Both are the device's from here on. */
	cfg.root_fd = fd_take(&b->root_fd);
	cfg.proc_fd = fd_take(&b->fds.proc);
	rc = p9_new(&dev, "root", &cfg, e);
	if (rc == 0)
		rc = machine_plug(b->machine, dev, &slot, e);
	if (rc == 0)
		*ret_gpa = machine_slot_gpa(b->machine, slot);
	return rc;
}

static int send_startpod(struct box *b)
{
	uint8_t entropy[ENTROPY_LEN];
	auto_json o = json_object_new_object();
	auto_free char *text = NULL;
	struct timespec now;

	if (getrandom(entropy, sizeof(entropy), 0) != (ssize_t)sizeof(entropy))
		return -EIO;
	text = b64_encode(entropy, sizeof(entropy));
	(void)clock_gettime(CLOCK_REALTIME, &now);
	json_add_str(o, "hostname", json_str(b->spec->root, "hostname", b->state->id));
	json_add_str(o, "entropy", text);
	json_add_i64(o, "time_ns", (int64_t)now.tv_sec * (int64_t)NS_PER_SEC + now.tv_nsec);
	return box_request(b, LINK_STARTPOD,
			   json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN), WANT_STARTPOD,
			   0);
}

static int send_newcontainer(struct box *b, uint64_t gpa)
{
	auto_json o = json_object_new_object();
	struct json_object *root = json_object_new_object();
	char device[48];

	(void)snprintf(device, sizeof(device), "%" PRIx64 ".virtio_mmio", gpa);
	json_add_str(o, "id", b->state->id);
	json_add_i64(o, "base", (int64_t)b->base);
	json_add_str(root, "device", device);
	json_add_str(root, "tag", ROOT_TAG);
	json_add_bool(root, "readonly", b->spec->readonly);
	(void)json_object_object_add(o, "root", root);
	(void)json_object_object_add(o, "spec", json_object_get(b->spec->root));
	json_add_str(o, "seccomp", b->a->seccomp);
	return box_request(b, LINK_NEWCONTAINER,
			   json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN),
			   WANT_NEWCONTAINER, 0);
}

/* The gate opens: the container's root appears in a spare slot, and the agent hears of it. */
static void open_gate(struct box *b)
{
	struct err e = {0};
	uint64_t gpa = 0;
	int rc;

	b->phase = BOX_STARTING;
	b->deadline_at = 0;
	b->base = proxy_next_base(clients_proxy(b->clients));
	rc = plug_root(b, &gpa, &e);
	if (rc == 0)
		rc = link_open(b->link, b->base);
	if (rc == 0)
		rc = link_open(b->link, b->base + 1);
	if (rc == 0)
		rc = send_startpod(b);
	if (rc == 0)
		rc = send_newcontainer(b, gpa);
	if (rc < 0) {
		err_sys(&e, rc, "starting the container");
		box_refuse_start(b, 1, "%s", e.msg);
		box_end(b, 1);
	}
}

static void start_asked(struct box *b, proxy_req_t req)
{
	if (b->phase != BOX_GATED || b->start_req) {
		box_answer(b, req, 1,
			   b->phase >= BOX_DRAINING
			       ? "cannot start a container that has stopped"
			       : "cannot start a container that is already running");
		return;
	}
	b->start_req = req;
	if (b->dead) {
		box_refuse_start(b, 1, "%s", b->why_dead);
		box_end(b, 1);
		return;
	}
	if (link_is_up(b->link))
		open_gate(b);
	else
		box_deadline(b, AGENT_NS);
}

static void started(struct box *b)
{
	int rc;

	if (b->phase != BOX_STARTING)
		return;
	report_stamp(b->report, PHASE_PROCESS);
	b->phase = BOX_RUNNING;
	b->state->status = STATE_RUNNING;
	rc = state_save(b->fds.state_dir, b->state);
	if (rc < 0)
		log_err("writing " STATE_FILE ": %s", strerror(-rc));
	box_answer(b, b->start_req, 0, NULL);
	b->start_req = 0;
	if (b->in)
		source_start(b->in);
	if (b->exited)
		box_end(b, b->exited_status);
}

static void start_failed(struct box *b, struct json_object *o)
{
	int status = (int)json_i64(o, "status", 1);

	if (b->phase != BOX_STARTING)
		return;
	status = status < 1 || status > 255 ? 1 : status;
	box_refuse_start(b, status, "%s",
			 json_str(o, "message", "the agent refused the container"));
	box_end(b, status);
}

/* ---- link ------------------------------------------------------------------------------------ */

static void on_up(void *ctx, const char *json, size_t len)
{
	struct box *b = ctx;
	auto_json o = NULL;

	log_dbg("agent: %.*s", (int)MIN(len, (size_t)200), json);
	if (json_parse(json, len, "READY", &o, NULL) == 0 && !json_flag(o, "dax", true))
		log_warn("the mini OS image is not mapped with DAX: each VM keeps a copy of it");
	report_stamp(b->report, PHASE_AGENT);
	if (b->start_req && b->phase == BOX_GATED)
		open_gate(b);
}

static void on_reply(void *ctx, uint32_t id, bool ok, const char *json, size_t len)
{
	struct box *b = ctx;
	struct box_want w;
	struct err e = {0};
	auto_json o = NULL;
	const char *text;
	size_t i = 0;

	while (i < b->want_cnt && b->wants[i].id != id)
		i++;
	if (i == b->want_cnt)
		return; /* an answer to nobody: a faulty agent */
	w = b->wants[i];
	b->wants[i] = b->wants[--b->want_cnt];
	if (len && json_parse(json, len, "the agent's answer", &o, &e) < 0)
		ok = false;
	text = ok ? NULL : json_str(o, "message", e.code ? e.msg : "the agent refused");
	switch (w.what) {
	case WANT_STARTPOD:
		if (!ok)
			start_failed(b, o);
		break;
	case WANT_NEWCONTAINER:
		if (ok)
			started(b);
		else
			start_failed(b, o);
		break;
	case WANT_KILL:
		box_answer(b, w.req, (int)json_i64(o, "status", 1), text);
		break;
	case WANT_DESTROY:
		break; /* power-off follows */
	case WANT_CLIENT:
		if (ok)
			proxy_reply(clients_proxy(b->clients), w.req, json, len);
		else
			proxy_reply_error(clients_proxy(b->clients), w.req, "%s", text);
		break;
	}
}

static struct sink **sink_of(struct box *b, uint64_t stream)
{
	if (!b->base)
		return NULL;
	if (stream == b->base)
		return &b->out;
	return stream == b->base + 1 ? &b->err : NULL;
}

static void on_data(void *ctx, uint64_t stream, const void *buf, size_t len)
{
	struct box *b = ctx;
	struct sink **s = sink_of(b, stream);

	report_stamp(b->report, PHASE_OUTPUT);
	if (s && *s)
		sink_write(*s, buf, len);
	else
		link_consumed(b->link, stream, len);
}

static void on_closed(void *ctx, uint64_t stream)
{
	struct box *b = ctx;

	if (stream != b->base) {
		shim_in_closed(&b->shims, stream);
		return;
	}
	/* The container has closed its stdin: whoever writes there shall hear of it. */
	source_end(b->in);
	b->in = NULL;
}

static void on_eof(void *ctx, uint64_t stream)
{
	struct box *b = ctx;
	struct sink **s = sink_of(b, stream);

	if (!s || !*s)
		return;
	if (stream == b->base)
		b->out_eof = true;
	else
		b->err_eof = true;
	box_reap_sinks(b);
}

static void on_writable(void *ctx, uint64_t stream)
{
	struct box *b = ctx;

	if (stream != b->base)
		shim_in_writable(&b->shims, stream);
	else if (b->in)
		source_resume(b->in);
}

static void on_exited(void *ctx, uint64_t stream, uint32_t status)
{
	struct box *b = ctx;

	shim_in_over(&b->shims, stream);
	if (stream != b->base || !b->base || b->exited)
		return;
	b->exited = true;
	b->exited_status = (int)(status & 0xff);
	if (b->phase == BOX_RUNNING)
		box_end(b, b->exited_status);
}

static void on_broken(void *ctx, const char *why)
{
	struct box *b = ctx;

	log_err("the agent broke the protocol: %s", why);
	if (b->start_req)
		box_refuse_start(b, 1, "the guest's agent broke the protocol: %s", why);
	if (b->phase == BOX_GATED) {
		(void)snprintf(b->why_dead, sizeof(b->why_dead),
			       "the guest's agent broke the protocol: %s", why);
		machine_stop(b->machine);
		return;
	}
	box_end(b, b->killed ? 137 : 255);
}

const struct link_ops box_link_ops = {
    .up = on_up,
    .reply = on_reply,
    .data = on_data,
    .eof = on_eof,
    .closed = on_closed,
    .writable = on_writable,
    .exited = on_exited,
    .broken = on_broken,
};

/* ---- streams --------------------------------------------------------------------------------- */

static size_t stdin_take(void *ctx, const void *buf, size_t len)
{
	struct box *b = ctx;
	size_t n = link_send(b->link, b->base, buf, len);

	agentlink_flush(b->al);
	return n;
}

static void stdin_eof(void *ctx)
{
	struct box *b = ctx;

	link_send_eof(b->link, b->base);
	agentlink_flush(b->al);
	source_end(b->in);
	b->in = NULL;
}

static void consumed(struct box *b, uint64_t stream, size_t len)
{
	link_consumed(b->link, stream, len);
	agentlink_flush(b->al);
}

static void out_consumed(void *ctx, size_t len)
{
	struct box *b = ctx;

	consumed(b, b->base, len);
}

static void err_consumed(void *ctx, size_t len)
{
	struct box *b = ctx;

	consumed(b, b->base + 1, len);
}

static void out_broken(void *ctx)
{
	struct box *b = ctx;

	link_send_closed(b->link, b->base);
	agentlink_flush(b->al);
}

static void err_broken(void *ctx)
{
	struct box *b = ctx;

	link_send_closed(b->link, b->base + 1);
	agentlink_flush(b->al);
}

/* A stream that the container has closed is closed here once all of it is written. */
static void reap_work(struct loop_work *w)
{
	struct box *b = container_of(w, struct box, reap);

	if (b->out && b->out_eof && sink_is_idle(b->out)) {
		sink_end(b->out);
		b->out = NULL;
	}
	if (b->err && b->err_eof && sink_is_idle(b->err)) {
		sink_end(b->err);
		b->err = NULL;
	}
	box_maybe_end(b);
}

void box_reap_sinks(struct box *b)
{
	loop_post(b->loop, &b->reap); /* not from inside of the sink */
}

static void sink_idle(void *ctx)
{
	box_reap_sinks(ctx);
}

static const struct source_ops stdin_ops = {.take = stdin_take, .eof = stdin_eof};
static const struct sink_ops stdout_ops = {
    .consumed = out_consumed, .broken = out_broken, .idle = sink_idle};
static const struct sink_ops stderr_ops = {
    .consumed = err_consumed, .broken = err_broken, .idle = sink_idle};

int box_open_streams(struct box *b, struct err *e)
{
	b->reap.fn = reap_work;
	b->in = source_new(b->loop, fd_take(&b->stdio[0]), b->fds.proc, &stdin_ops, b);
	b->out = sink_new(b->loop, fd_take(&b->stdio[1]), b->fds.proc, &stdout_ops, b);
	b->err = sink_new(b->loop, fd_take(&b->stdio[2]), b->fds.proc, &stderr_ops, b);
	return b->in && b->out && b->err ? 0 : err_set(e, -ENOMEM, "streams: out of memory");
}

/* ---- clients --------------------------------------------------------------------------------- */

static void husk_command(void *ctx, proxy_client_t client, proxy_req_t req, const char *json,
			 size_t len)
{
	struct box *b = ctx;
	struct err e = {0};
	auto_json o = NULL;
	const char *op;
	int64_t signo;

	(void)client;
	if (json_parse(json, len, "command", &o, &e) < 0) {
		box_answer(b, req, 1, e.msg);
		return;
	}
	op = json_str(o, "op", "");
	signo = json_i64(o, "signal", 0);
	if (!strcmp(op, "start"))
		start_asked(b, req);
	else if (!strcmp(op, "kill") && (signo < 1 || signo > 64))
		box_answer(b, req, 1, "kill: not a signal");
	else if (!strcmp(op, "kill"))
		box_signal(b, (int)signo, json_flag(o, "all", false), req);
	else
		box_answer(b, req, 1, "unknown command");
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
		rc = box_request(b, cmd, json, WANT_CLIENT, req);
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
