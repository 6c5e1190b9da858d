/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox process's talk with the agent and with its clients, and the container's streams
 * between link and descriptors. See box.c for the states. docs/agent-protocol.md has the messages.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/b64.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "runtime/box_priv.h"

#define ROOT_TAG    "husk.root"
#define ENTROPY_LEN 64u
#define HOOK_S	    600 /* docs/oci.md */
#define HOOK_MAX_S  86400

/* ---- requests -------------------------------------------------------------------------------- */

/* While the vCPUs are stopped nobody answers, and an exec in a frozen container waits for its end. */
static bool stands_still(struct box *b, uint32_t cmd, bool woke)
{
	return b->pause.step == PAUSE_DONE && (!woke || cmd == LINK_EXECCMD);
}

static const struct wants_ops wants_ops = {
    .still = stands_still, .wake = box_pause_wake, .rest = box_pause_rest};

void box_wants_init(struct box *b)
{
	wants_init(&b->wants, b->loop, &wants_ops, b);
}

int box_ask(struct box *b, const struct wants_ask *ask)
{
	int rc = b->dead ? -ESRCH : wants_send(&b->wants, ask);

	if (rc == 0)
		agentlink_flush(b->al);
	return rc;
}

int box_request(struct box *b, uint32_t cmd, const char *json, box_reply_fn *fn, uint64_t arg)
{
	return box_ask(b, &(struct wants_ask){.cmd = cmd, .json = json, .fn = fn, .arg = arg});
}

static void answer(struct box *b, proxy_req_t req, int status, const char *text, bool ends)
{
	auto_json o = json_object_new_object();
	const char *json;

	if (!req)
		return;
	if (text) {
		json_add_str(o, "message", text);
		json_add_i64(o, "status", status);
	}
	if (ends)
		json_add_bool(o, "ends", true);
	json = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	proxy_reply(clients_proxy(b->clients), req, json, strlen(json));
}

void box_answer(struct box *b, proxy_req_t req, int status, const char *text)
{
	answer(b, req, status, text, false);
}

void box_pass_on(struct box *b, uint64_t req, const struct box_reply *r)
{
	if (!r->ok)
		box_answer(b, req, r->status, r->text);
	else if (req)
		proxy_reply(clients_proxy(b->clients), req, r->json, r->len);
}

void box_relay(struct box *b, uint32_t cmd, const char *json, proxy_req_t req)
{
	int rc = box_request(b, cmd, json, box_pass_on, req);

	if (rc < 0)
		box_answer(b, req, 1, strerror(-rc));
}

void box_give_up(struct box *b, const char *why)
{
	wants_give_up(&b->wants, why);
}

void box_refuse_start(struct box *b, int status, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	answer(b, b->start_req, status, text, true);
	b->start_req = 0;
}

/* ---- start ----------------------------------------------------------------------------------- */

static int plug_root(struct box *b, unsigned *ret_slot, struct err *e)
{
	struct p9_config cfg = {.tag = ROOT_TAG, .pool = b->files};
	struct virtio_dev *dev;
	int rc;

	/* Both are the device's from here on; processes that come later need the second one, too. */
	cfg.root_fd = fd_take(&b->root_fd);
	cfg.proc_fd = fcntl(b->fds.proc, F_DUPFD_CLOEXEC, 3);
	if (cfg.proc_fd < 0) {
		fd_close(&cfg.root_fd);
		return err_sys(e, -errno, "/proc/self/fd");
	}
	rc = p9_new(&dev, "root", &cfg, e);
	if (rc == 0)
		rc = machine_plug(b->machine, dev, ret_slot, e);
	return rc;
}

/* The guest's name of the device in a slot, as the agent binds it. */
static void add_device(const struct box *b, struct json_object *o, unsigned slot)
{
	char device[48];

	(void)snprintf(device, sizeof(device), "%" PRIx64 ".virtio_mmio",
		       machine_slot_gpa(b->machine, slot));
	json_add_str(o, "device", device);
}

/* linux.devices that are disks of the host: "disks" of NEWCONTAINER. */
static int plug_disks(struct box *b, struct json_object *request, struct err *e)
{
	struct json_object *list = json_object_new_array();

	(void)json_object_object_add(request, "disks", list);
	for (unsigned i = 0; i < b->a->disks.cnt; i++) {
		struct json_object *o = json_object_new_object();
		struct virtio_dev *dev = b->disk[i];
		unsigned slot = 0;
		int rc;

		(void)json_object_array_add(list, o);
		b->disk[i] = NULL;
		rc = machine_plug(b->machine, dev, &slot, e);
		if (rc < 0)
			return rc;
		add_device(b, o, slot);
		json_add_str(o, "path", b->a->disks.v[i].path);
		json_add_str(o, "access", b->a->disks.v[i].access);
	}
	return 0;
}

/* Most have no hooks to run now, and who waits gets by with an empty answer. */
static void answer_start(struct box *b)
{
	static const char hooks[] = "{\"poststart\":true}";
	bool any = json_len(b->spec->root, "hooks.poststart") > 0;

	if (b->start_req)
		proxy_reply(clients_proxy(b->clients), b->start_req, any ? hooks : "",
			    any ? sizeof(hooks) - 1 : 0);
	b->start_req = 0;
}

static void started(struct box *b)
{
	if (b->phase != BOX_STARTING)
		return;
	report_stamp(b->report, PHASE_PROCESS);
	b->phase = BOX_RUNNING;
	box_publish(b, STATE_RUNNING);
	answer_start(b);
	proc_started(b->init);
	if (b->init->exited)
		box_end(b, b->init->status);
	else
		box_execs_go(b);
	box_forward(b);
	(void)box_resize(b); /* the engine may have set it before anybody heard of it */
	loop_post(b->loop, &b->after_start);
}

/* What nobody waits for: behind the answer, which has been queued before. */
void box_after_start(struct loop_work *w)
{
	struct box *b = container_of(w, struct box, after_start);

	if (b->phase == BOX_RUNNING && !b->dead && b->a->balloon)
		box_add_balloon(b);
}

static void start_failed(struct box *b, const struct box_reply *r)
{
	if (b->phase != BOX_STARTING)
		return;
	box_refuse_start(b, r->status, "%s", r->text);
	box_end(b, r->status);
}

static void open_gate(struct box *b);

static void make_failed(struct box *b, const struct box_reply *r)
{
	if (b->phase == BOX_GATED && !b->dead)
		box_prepare_failed(b, r->text);
	else
		start_failed(b, r);
}

static void pod_started(struct box *b, uint64_t arg, const struct box_reply *r)
{
	(void)arg;
	if (!r->ok)
		make_failed(b, r);
}

/*
 * Start has been answered when the program turns out to be none that Linux executes: the container
 * has ended, as it would under other runtimes, whose process says so where its errors go.
 */
static void run_failed(struct box *b, const struct box_reply *r)
{
	log_err("%s", r->text);
	proc_say(b->init, r->text);
	box_end(b, r->status);
}

/*
 * Whether who calls start is answered when the process has the word to go, without waiting for the
 * guest: create has found its program. Hooks are waited for: the container's own may fail, and
 * poststart's come after the execve.
 */
static bool answers_early(const struct box *b)
{
	struct json_object *root = b->spec->root;

	return !b->start_waits && !json_len(root, "hooks.startContainer") &&
	       !json_len(root, "hooks.poststart");
}

static void container_started(struct box *b, uint64_t arg, const struct box_reply *r)
{
	(void)arg;
	/* Which of both start was, early or not, makes no difference to its caller. */
	if (r->ok || (answers_early(b) && json_flag(r->o, "built", false)))
		started(b);
	if (!r->ok && b->phase == BOX_RUNNING)
		run_failed(b, r);
	else if (!r->ok)
		start_failed(b, r);
	proc_sure(b->init);
}

static void container_made(struct box *b, uint64_t arg, const struct box_reply *r)
{
	if (b->phase == BOX_STARTING) {
		container_started(b, arg, r);
		return;
	}
	if (!r->ok) {
		make_failed(b, r);
		return;
	}
	b->prep = BOX_MADE;
	if (b->phase == BOX_GATED) {
		log_dbg("the container waits at the gate");
		box_execs_go(b);
		box_go_on(b);
		if (b->start_req)
			open_gate(b);
	}
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
	json_add_str(o, "hostname", json_str(b->spec->root, "hostname", b->host.nodename));
	json_add_str(o, "entropy", text);
	json_add_i64(o, "time_ns", (int64_t)now.tv_sec * (int64_t)NS_PER_SEC + now.tv_nsec);
	return box_request(b, LINK_STARTPOD,
			   json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN), pod_started,
			   0);
}

/* What the container's own hooks may take beyond the agent's time; one without a limit gets ours. */
static uint64_t guest_hooks_ns(struct json_object *spec)
{
	struct json_object *list = json_at(spec, "hooks.startContainer");
	uint64_t s = 0;

	for (size_t i = 0; i < json_len(spec, "hooks.startContainer"); i++) {
		int64_t t = json_i64(json_object_array_get_idx(list, i), "timeout", 0);

		s += t > 0 ? (uint64_t)MIN(t, HOOK_MAX_S) : HOOK_S;
	}
	return MIN(s, (uint64_t)HOOK_MAX_S) * NS_PER_SEC;
}

static int send_newcontainer(struct box *b, unsigned slot, bool hold, struct err *e)
{
	auto_json o = json_object_new_object();
	struct json_object *root = json_object_new_object();
	int rc;

	json_add_str(o, "id", b->state->id);
	json_add_i64(o, "base", (int64_t)b->init->base);
	add_device(b, root, slot);
	json_add_str(root, "tag", ROOT_TAG);
	json_add_bool(root, "readonly", b->spec->readonly);
	(void)json_object_object_add(o, "root", root);
	(void)json_object_object_add(o, "spec", json_object_get(b->spec->root));
	json_add_str(o, "bundle", b->spec->bundle);
	json_add_str(o, "seccomp", b->a->seccomp);
	json_add_bool(o, "hold", hold);
	rc = plug_disks(b, o, e);
	if (rc < 0)
		return rc;
	return box_ask(b, &(struct wants_ask){
			      .cmd = LINK_NEWCONTAINER,
			      .json = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN),
			      .fn = container_made,
			      .extra_ns = guest_hooks_ns(b->spec->root)});
}

static void cannot_start(struct box *b, const char *why)
{
	box_refuse_start(b, 1, "%s", why);
	box_end(b, 1);
}

static int send_startcontainer(struct box *b)
{
	auto_json o = json_object_new_object();

	json_add_str(o, "container", b->state->id);
	return box_ask(b, &(struct wants_ask){
			      .cmd = LINK_STARTCONTAINER,
			      .json = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN),
			      .fn = container_started,
			      .extra_ns = guest_hooks_ns(b->spec->root)});
}

/* A process that waits behind the gate needs nothing but the word. */
static int let_go(struct box *b)
{
	int rc = send_startcontainer(b);

	if (rc == 0 && answers_early(b))
		started(b);
	return rc;
}

/* The guest has its network, which the container's process must find. */
static void net_ready(struct box *b, const char *why)
{
	struct err e = {0};
	int rc = 0;

	if (b->phase != BOX_STARTING)
		return;
	if (!b->killed)
		b->deadline_at = 0;
	b->init->unsure = true;
	if (!why)
		rc =
		    b->prep == BOX_MADE ? let_go(b) : send_newcontainer(b, b->root_slot, false, &e);
	if (rc < 0)
		err_sys(&e, rc, "starting the container");
	if (why || rc < 0)
		cannot_start(b, why ? why : e.msg);
}

/* The container's root appears in a spare slot, and the agent hears of it. */
static int make_container(struct box *b, bool hold, struct err *e)
{
	unsigned slot = 0;
	int rc = plug_root(b, &slot, e);

	b->root_slot = slot;
	b->want_prep = false;
	b->prep = BOX_MAKING;
	if (rc == 0)
		rc = proc_open(b->init, proxy_next_base(clients_proxy(b->clients)));
	if (rc == 0)
		rc = send_startpod(b);
	if (rc == 0 && hold)
		rc = send_newcontainer(b, slot, true, e);
	if (rc == 0)
		box_net_up(b);
	return rc < 0 ? err_sys(e, rc, "starting the container") : 0;
}

/* The gate opens. */
static void open_gate(struct box *b)
{
	struct err e = {0};
	int rc = 0;

	if (b->prep == BOX_MAKING)
		return; /* container_made() comes here again */
	b->phase = BOX_STARTING;
	b->deadline_at = 0;
	if (b->prep != BOX_MADE)
		rc = make_container(b, false, &e);
	if (rc < 0) {
		cannot_start(b, e.msg);
		return;
	}
	box_deadline(b, BOX_NET_S * NS_PER_SEC);
	box_net_await(b, net_ready);
}

/* It cannot be built: now for the execs that wait for it, and for start when it comes. */
void box_prepare_failed(struct box *b, const char *why)
{
	if (why != b->why_dead)
		(void)snprintf(b->why_dead, sizeof(b->why_dead), "%s", why);
	box_execs_end(b, b->why_dead);
	if (b->start_req)
		cannot_start(b, b->why_dead);
}

void box_prepare(struct box *b)
{
	struct err e = {0};

	if (b->why_dead[0]) {
		box_prepare_failed(b, b->why_dead);
	} else if (!link_is_up(b->link)) {
		if (!b->want_prep && !b->start_req)
			box_deadline(b, BOX_AGENT_S * NS_PER_SEC);
		b->want_prep = true;
	} else if (b->prep == BOX_UNMADE && make_container(b, true, &e) < 0) {
		box_prepare_failed(b, e.msg);
	}
}

void box_start(struct box *b, proxy_req_t req, bool waits)
{
	if (b->phase != BOX_DRAINING && box_is_paused(b)) {
		box_answer(b, req, 1, "cannot start a container that is paused");
		return;
	}
	if (b->phase != BOX_GATED || b->start_req) {
		box_answer(b, req, 1,
			   b->phase >= BOX_DRAINING
			       ? "cannot start a container that has stopped"
			       : "cannot start a container that is already running");
		return;
	}
	b->start_req = req;
	b->start_waits = waits;
	if (b->why_dead[0]) {
		box_refuse_start(b, 1, "%s", b->why_dead);
		box_end(b, 1);
		return;
	}
	box_net_begin(b); /* meanwhile, if the guest is not up yet */
	if (link_is_up(b->link))
		open_gate(b);
	else
		box_deadline(b, BOX_AGENT_S * NS_PER_SEC);
}

/* ---- link ------------------------------------------------------------------------------------ */

static void on_up(void *ctx, const char *json, size_t len)
{
	struct box *b = ctx;
	auto_json o = NULL;

	log_dbg("agent: %.*s", (int)MIN(len, (size_t)200), json);
	report_stamp(b->report, PHASE_AGENT);
	if (json_parse(json, len, "READY", &o, NULL) == 0) {
		if (!json_flag(o, "dax", true))
			log_warn(
			    "the mini OS image is not mapped with DAX: each VM keeps a copy of it");
		report_guest_memory(b->report, (uint64_t)MAX(json_i64(o, "memory.total_kib", 0), 0),
				    (uint64_t)MAX(json_i64(o, "memory.free_kib", 0), 0));
	}
	if (b->phase == BOX_GATED)
		b->deadline_at = 0;
	if (b->start_req && b->phase == BOX_GATED)
		open_gate(b);
	else if (b->phase == BOX_GATED && (b->want_prep || !spec_names_interfaces(b->spec)))
		box_prepare(b);
}

static void on_reply(void *ctx, uint32_t id, bool ok, const char *json, size_t len)
{
	struct box *b = ctx;

	wants_reply(&b->wants, id, ok, json, len);
}

/* Nobody asked for it. What is unknown is a newer agent's. */
static void on_event(void *ctx, const char *json, size_t len)
{
	struct box *b = ctx;
	auto_json o = NULL;
	struct err e = {0};
	const char *event;
	int64_t kills;

	if (json_parse(json, len, "the agent's event", &o, &e) < 0)
		return;
	event = json_str(o, "event", "");
	kills = json_i64(o, "oom_kill", 0);
	if (!strcmp(event, "dns"))
		box_net_question(b, o);
	else if (!strcmp(event, "oom") && kills > 0)
		box_oom_killed(b, (uint64_t)kills);
}

static void on_data(void *ctx, uint64_t stream, const void *buf, size_t len)
{
	struct box *b = ctx;

	report_stamp(b->report, PHASE_OUTPUT);
	if (!procs_data(&b->procs, stream, buf, len) &&
	    !forwards_data(&b->forwards, stream, buf, len))
		link_consumed(b->link, stream, len);
}

static void on_eof(void *ctx, uint64_t stream)
{
	struct box *b = ctx;

	if (!procs_eof(&b->procs, stream))
		(void)forwards_eof(&b->forwards, stream);
}

static void on_closed(void *ctx, uint64_t stream)
{
	struct box *b = ctx;

	if (!procs_closed(&b->procs, stream) && !forwards_closed(&b->forwards, stream))
		shim_in_closed(&b->shims, stream);
}

static void on_writable(void *ctx, uint64_t stream)
{
	struct box *b = ctx;

	if (!procs_writable(&b->procs, stream) && !forwards_writable(&b->forwards, stream))
		shim_in_writable(&b->shims, stream);
}

static void on_exited(void *ctx, uint64_t stream, uint32_t status)
{
	struct box *b = ctx;

	if (!procs_exited(&b->procs, stream, status))
		shim_in_over(&b->shims, stream);
	else if (b->init->exited && b->phase == BOX_RUNNING)
		box_end(b, b->init->status);
	else
		box_maybe_end(b); /* it may have waited for this one */
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
	} else {
		box_end(b, b->killed ? 137 : 255);
	}
	box_give_up(b, "the guest's agent broke the protocol");
	box_execs_end(b, "the guest's agent broke the protocol");
}

const struct link_ops box_link_ops = {
    .up = on_up,
    .reply = on_reply,
    .event = on_event,
    .data = on_data,
    .eof = on_eof,
    .closed = on_closed,
    .writable = on_writable,
    .exited = on_exited,
    .broken = on_broken,
};

/* ---- streams --------------------------------------------------------------------------------- */

static void proc_over(void *ctx, struct proc *p)
{
	struct box *b = ctx;

	if (p == b->init)
		fd_close(&b->tty); /* before the end is told: its other side hangs up */
	else
		box_exec_over(b, p);
	box_maybe_end(b);
}

static void proc_flush(void *ctx)
{
	struct box *b = ctx;

	agentlink_flush(b->al);
}

static const struct procs_ops procs_ops = {.over = proc_over, .flush = proc_flush};

int box_open_streams(struct box *b, struct err *e)
{
	bool tty = b->tty >= 0;

	procs_init(&b->procs, b->loop, b->fds.proc, &procs_ops, b);
	for (int i = 0; tty && b->a->tty_own && i < 2; i++) {
		b->stdio[i] = fcntl(b->tty, F_DUPFD_CLOEXEC, 3);
		if (b->stdio[i] < 0)
			return err_sys(e, -errno, "terminal");
	}
	if (tty)
		b->stdio[2] = -1;
	b->init = proc_new(&b->procs, b->stdio, tty);
	return b->init ? 0 : err_set(e, -ENOMEM, "streams: out of memory");
}
