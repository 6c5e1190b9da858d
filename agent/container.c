/* SPDX-License-Identifier: Apache-2.0 */
/* The requests about containers, and what SIGCHLD means for them: see container.h. Loop thread. */
#include "agent/container.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/child.h"
#include "agent/ps.h"
#include "base/clock.h"
#include "base/fd.h"

#define BASE_MAX      (INT64_MAX - 1)
#define DRIVER_UNBIND "/sys/bus/platform/drivers/virtio-mmio/unbind"
#define END_WAIT_NS   (5 * NS_PER_SEC)

struct container *container_find(struct agent *a, const char *id)
{
	list_for_each (n, &a->containers) {
		struct container *c = list_entry(n, struct container, node);

		if (strcmp(c->id, id) == 0)
			return c;
	}
	return NULL;
}

bool container_id_ok(const char *id)
{
	size_t len = strlen(id);

	/* It becomes the name of a cgroup, beside the kernel's "cgroup.*" and "memory.*" files. */
	if (!len || len > CONTAINER_ID_MAX || id[0] == '.')
		return false;
	return strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.") ==
	       len;
}

static void container_free(struct container *c)
{
	list_for_each_safe (n, tmp, &c->a->procs) {
		struct proc *p = list_entry(n, struct proc, node);

		if (p->c != c)
			continue;
		/* One that has not been reaped yet is freed when it is. */
		if (p->pid) {
			streams_close(&p->streams);
			gspec_free_process(&p->spec);
			p->c = NULL;
		} else {
			proc_free(p);
		}
	}
	container_oom_forget(c);
	list_del(&c->node);
	gspec_free(&c->spec);
	free(c->filter);
	free(c->disks);
	json_object_put(c->request);
	free(c);
}

static int parse_root(struct json_object *o, struct container *c, struct err *e)
{
	struct json_object *root = NULL;
	struct root_source *r = &c->root;
	int rc = js_obj(o, "root", &root, e);

	if (rc == 0 && !root)
		return err_set(e, -EINVAL, "root: missing");
	rc = rc ? rc : js_str(root, "device", &r->device, e);
	rc = rc ? rc : js_str(root, "tag", &r->tag, e);
	rc = rc ? rc : js_str(root, "fstype", &r->fstype, e);
	rc = rc ? rc : js_str(root, "path", &r->path, e);
	rc = rc ? rc : js_bool(root, "readonly", &c->root_ro, e);
	if (rc < 0)
		return err_wrap(e, "root");
	if (!r->device == !r->path)
		return err_set(e, -EINVAL, "root: needs either a device or a path");
	if (r->device && (strchr(r->device, '/') || r->device[0] == '.'))
		return err_set(e, -EINVAL, "root: device '%s' is not a device's name", r->device);
	if (r->device && !r->tag && !r->fstype)
		return err_set(e, -EINVAL, "root: no tag");
	if (r->path && r->path[0] != '/')
		return err_set(e, -EINVAL, "root: path '%s' is not absolute", r->path);
	return 0;
}

static int parse_disk(struct json_object *o, struct disk_source *d, struct err *e)
{
	const char *access = "";
	int rc = js_str(o, "device", &d->device, e);

	rc = rc ? rc : js_str(o, "path", &d->path, e);
	rc = rc ? rc : js_str(o, "access", &access, e);
	if (rc < 0)
		return rc;
	if (!d->device || strchr(d->device, '/') || d->device[0] == '.')
		return err_set(e, -EINVAL, "device '%s' is not a device's name",
			       d->device ? d->device : "");
	if (!d->path || d->path[0] != '/')
		return err_set(e, -EINVAL, "path '%s' is not absolute", d->path ? d->path : "");
	return gspec_parse_access(access, &d->access, e);
}

static int parse_disks(struct json_object *o, struct container *c, struct err *e)
{
	struct json_object *arr = NULL;
	int rc = js_arr(o, "disks", &arr, e);

	c->disks_cnt = js_len(arr);
	c->disks = calloc(c->disks_cnt + 1, sizeof(*c->disks));
	if (!c->disks)
		return err_set(e, -ENOMEM, "disks: out of memory");
	for (size_t i = 0; rc == 0 && i < c->disks_cnt; i++) {
		struct json_object *d = NULL;

		rc = js_at_obj(arr, i, "disks", &d, e);
		rc = rc ? rc : parse_disk(d, &c->disks[i], e);
		if (rc < 0)
			return err_wrap(e, "disks[%zu]", i);
	}
	return rc;
}

static int parse_filter(struct json_object *o, struct container *c, struct err *e)
{
	const char *text = NULL;
	auto_free unsigned char *raw = NULL;
	size_t len;
	int rc = js_str(o, "seccomp", &text, e);

	if (rc < 0)
		return rc;
	if (!text || !text[0]) {
		if (c->spec.has_seccomp)
			return err_set(e, -EINVAL,
				       "seccomp: the spec has a filter, the request no program");
		return 0;
	}
	rc = js_base64(text, &raw, &len);
	if (rc < 0)
		return err_set(e, rc, "seccomp: not base64");
	if (!len || len % sizeof(struct sock_filter) ||
	    len / sizeof(struct sock_filter) > BPF_MAXINSNS)
		return err_set(e, -EINVAL, "seccomp: %zu bytes are no BPF program", len);
	c->filter_len = len / sizeof(struct sock_filter);
	c->filter = (struct sock_filter *)(void *)ptr_take(raw);
	return 0;
}

static int parse_base(struct json_object *o, uint64_t *ret, struct err *e)
{
	int64_t v = 0;
	int rc = js_int(o, "base", 1, BASE_MAX, &v, e);

	if (rc == 0 && !v)
		rc = err_set(e, -EINVAL, "base: missing");
	*ret = (uint64_t)v;
	return rc;
}

static int parse_container(struct json_object *o, struct container *c, uint64_t *base,
			   struct err *e)
{
	struct json_object *spec = NULL;
	const char *id = "";
	int rc = js_str(o, "id", &id, e);

	if (rc < 0)
		return rc;
	if (!container_id_ok(id))
		return err_set(e, -EINVAL, "container id '%s': not a name", id);
	if (container_find(c->a, id))
		return err_set(e, -EEXIST, "container '%s': exists", id);
	memcpy(c->id, id, strlen(id) + 1);
	c->bundle = "";
	rc = js_str(o, "bundle", &c->bundle, e);
	rc = rc ? rc : js_obj(o, "spec", &spec, e);
	if (rc == 0 && !spec)
		rc = err_set(e, -EINVAL, "spec: missing");
	rc = rc ? rc : parse_base(o, base, e);
	rc = rc ? rc : parse_root(o, c, e);
	rc = rc ? rc : parse_disks(o, c, e);
	rc = rc ? rc : js_bool(o, "hold", &c->held, e);
	rc = rc ? rc : gspec_parse(spec, &c->spec, e);
	rc = rc ? rc : parse_filter(o, c, e);
	if (rc == 0 && !c->spec.has_process)
		rc = err_set(e, -EINVAL, "the spec has no process");
	return rc < 0 ? err_wrap(e, "container '%s'", id) : 0;
}

void container_new(struct agent *a, uint32_t req, struct json_object *o)
{
	struct container *c = calloc(1, sizeof(*c));
	struct err e = {0};
	struct proc *p;
	uint64_t base = 0;
	int rc;

	if (!c) {
		calls_reply_err(a, req, NULL, 1);
		return;
	}
	c->a = a;
	c->oom.fd = -1;
	c->request = json_object_get(o);
	list_init(&c->node);
	rc = parse_container(o, c, &base, &e);
	rc = rc ? rc : cgrp_create(c->id, &c->spec, &e);
	if (rc < 0) {
		container_free(c);
		calls_reply_err(a, req, &e, 1);
		return;
	}
	list_add_tail(&a->containers, &c->node);
	container_oom_watch(c);
	p = proc_new(c, base, req, &e);
	if (p) {
		p->is_init = true;
		p->hold = c->held;
		c->held = false; /* not yet */
		c->init = p;
		rc = proc_start(p, &e);
	}
	if (!p || rc < 0) {
		struct err ignored = {0};

		(void)!cgrp_remove(c->id, 0, &ignored);
		container_free(c);
		calls_reply_err(a, req, &e, 1);
	}
}

struct container *container_named(struct agent *a, uint32_t req, struct json_object *o,
				  bool must_run)
{
	struct container *c = NULL;
	const char *id = NULL;
	struct err e = {0};
	int rc = js_str(o, "container", &id, &e);

	if (rc == 0 && !id)
		rc = err_set(&e, -EINVAL, "container: missing");
	if (rc == 0) {
		c = container_find(a, id);
		if (!c)
			rc = err_set(&e, -ENOENT, "container '%s': not found", id);
		else if (must_run && !((c->running || c->held) && c->init_pid))
			rc = err_set(&e, -ESRCH, "container not running");
	}
	if (rc == 0)
		return c;
	calls_reply_err(a, req, &e, 1);
	return NULL;
}

void container_start(struct agent *a, uint32_t req, struct json_object *o)
{
	struct container *c = container_named(a, req, o, true);
	struct err e = {0};
	int rc;

	if (!c)
		return;
	rc = c->held && c->init ? proc_go(c->init, req) : -EALREADY;
	if (rc == 0) { /* from now on, whatever comes of it: start may have been answered already */
		c->held = false;
		c->running = true;
		return;
	}
	(void)err_sys(&e, rc, "starting container '%s'", c->id);
	calls_reply_err(a, req, &e, 1);
}

void container_exec(struct agent *a, uint32_t req, struct json_object *o)
{
	struct container *c = container_named(a, req, o, true);
	struct json_object *process = NULL;
	struct spec_process spec = {0};
	struct err e = {0};
	struct proc *p = NULL;
	uint64_t base = 0;
	int rc;

	if (!c)
		return;
	rc = parse_base(o, &base, &e);
	rc = rc ? rc : js_obj(o, "process", &process, &e);
	if (rc == 0 && !process)
		rc = err_set(&e, -EINVAL, "process: missing");
	rc = rc ? rc : gspec_parse_process(process, &spec, &e);
	if (rc == 0 && !spec.has_caps) {
		memcpy(spec.caps, c->spec.process.caps, sizeof(spec.caps));
		spec.has_caps = true;
	}
	if (rc == 0)
		p = proc_new(c, base, req, &e);
	if (!p) {
		gspec_free_process(&spec);
		calls_reply_err(a, req, &e, 1);
		return;
	}
	p->spec = spec;
	p->request = json_object_get(o);
	rc = proc_start(p, &e);
	if (rc < 0) {
		proc_free(p);
		calls_reply_err(a, req, &e, 1);
	}
}

/* With @group also what it has started, unless that has made a session or a group of its own. */
static int signal_process(pid_t pid, int sig, bool group)
{
	/* One that is still being set up has no group yet. */
	if (group && kill(-pid, sig) == 0)
		return 0;
	return kill(pid, sig) < 0 ? -errno : 0;
}

void container_kill(struct agent *a, uint32_t req, struct json_object *o)
{
	struct container *c = container_named(a, req, o, false);
	int64_t sig = -1, base = 0;
	bool all = false, group = false;
	struct err e = {0};
	struct proc *p = NULL;
	pid_t pid;
	int rc;

	if (!c)
		return;
	rc = js_int(o, "signal", 0, 64, &sig, &e);
	rc = rc ? rc : js_int(o, "base", 1, BASE_MAX, &base, &e);
	rc = rc ? rc : js_bool(o, "allProcesses", &all, &e);
	rc = rc ? rc : js_bool(o, "processGroup", &group, &e);
	if (rc == 0 && sig < 0)
		rc = err_set(&e, -EINVAL, "signal: missing");
	if (rc == 0 && base) {
		p = proc_by_stream(a, (uint64_t)base);
		if (p && (p->c != c || p->streams.base != (uint64_t)base))
			p = NULL;
	}
	pid = base ? (p ? p->pid : 0) : c->init_pid;
	if (rc == 0 && !pid)
		rc = err_set(&e, -ESRCH, "container not running");
	if (rc == 0 && all)
		rc = cgrp_kill(c->id, (int)sig);
	else if (rc == 0)
		rc = signal_process(pid, (int)sig, group);
	if (rc < 0) {
		(void)err_sys(&e, rc, "signal %d", (int)sig);
		calls_reply_err(a, req, &e, 1);
		return;
	}
	calls_reply_ok(a, req, NULL);
}

void container_winsize(struct agent *a, uint32_t req, struct json_object *o)
{
	int64_t seq = 0, row = 0, col = 0;
	struct err e = {0};
	struct proc *p;
	int rc = js_int(o, "seq", 1, BASE_MAX, &seq, &e);

	rc = rc ? rc : js_int(o, "row", 0, UINT16_MAX, &row, &e);
	rc = rc ? rc : js_int(o, "column", 0, UINT16_MAX, &col, &e);
	if (rc == 0) {
		p = proc_by_stream(a, (uint64_t)seq);
		rc = p ? streams_winsize(&p->streams, (uint16_t)row, (uint16_t)col) : -ESRCH;
		if (rc < 0)
			(void)err_sys(&e, rc, "stream %lld", (long long)seq);
	}
	if (rc < 0)
		calls_reply_err(a, req, &e, 1);
	else
		calls_reply_ok(a, req, NULL);
}

void container_ps(struct agent *a, uint32_t req, struct json_object *o)
{
	struct container *c = container_named(a, req, o, true);
	struct err e = {0};

	if (c && job_start(a, req, ps_job, c, &e) < 0)
		calls_reply_err(a, req, &e, 1);
}

/* In a child: waits until the last process is gone, then gives the device back. */
static int remove_job(void *arg, struct json_object *reply, struct err *e)
{
	const struct container *c = arg;
	int rc;

	(void)reply;
	(void)cgrp_kill(c->id, SIGKILL);
	rc = cgrp_remove(c->id, 10000, e);
	/* The device may have refused to be bound; then there is nothing to give back. */
	for (size_t i = 0; rc == 0 && i < c->disks_cnt; i++)
		(void)!write_text(DRIVER_UNBIND, c->disks[i].device);
	if (rc == 0 && c->root.device)
		(void)!write_text(DRIVER_UNBIND, c->root.device);
	return rc;
}

void container_remove(struct agent *a, uint32_t req, struct json_object *o)
{
	struct container *c = container_named(a, req, o, false);
	struct err e = {0};

	if (!c)
		return;
	if (c->init_pid) {
		(void)err_set(&e, -EBUSY, "container '%s': running", c->id);
		calls_reply_err(a, req, &e, 1);
		return;
	}
	if (job_start(a, req, remove_job, c, &e) < 0) {
		calls_reply_err(a, req, &e, 1);
		return;
	}
	/* What the host still has to read of it, it has given up by asking for this. */
	container_free(c);
}

static void free_ended(struct agent *a)
{
	while (!list_empty(&a->ended))
		proc_free(list_first(&a->ended, struct proc, node));
}

void container_reap(struct agent *a)
{
	int ws;

	for (;;) {
		pid_t pid = waitpid(-1, &ws, WNOHANG | __WALL);

		if (pid < 0 && errno == EINTR)
			continue;
		if (pid <= 0)
			break;
		list_for_each (n, &a->procs) {
			struct proc *p = list_entry(n, struct proc, node);

			if (p->pid != pid)
				continue;
			/* The kernel's word about memory.events may be late; EXIT is not to overtake it. */
			if (p->is_init && p->c)
				container_oom_check(p->c);
			proc_reaped(p, ws);
			break;
		}
	}
	container_turn(a);
}

void container_turn(struct agent *a)
{
	free_ended(a);
	/* A container that never ran is nobody's once its error has been told. */
	list_for_each_safe (n, tmp, &a->containers) {
		struct container *c = list_entry(n, struct container, node);
		struct err e = {0};

		if (c->running || c->held || c->init || c->init_pid)
			continue;
		(void)!cgrp_remove(c->id, 0, &e);
		if (c->root.device || c->disks_cnt)
			(void)!job_start(a, 0, remove_job, c, &e);
		container_free(c);
	}
}

void container_end_all(struct agent *a)
{
	uint64_t end = clock_ns() + END_WAIT_NS;

	if (!a->containers.next)
		return;
	list_for_each (n, &a->containers)
		(void)cgrp_kill(list_entry(n, struct container, node)->id, SIGKILL);
	(void)kill(-1, SIGKILL);
	/* One that waits for the host's file server may never die: the machine ends without it. */
	for (uint64_t now = clock_ns(); now < end; now = clock_ns()) {
		struct pollfd pfd = {.fd = a->child_ev.fd, .events = POLLIN};
		struct signalfd_siginfo si;
		pid_t pid = waitpid(-1, NULL, __WALL | WNOHANG);

		if (pid < 0 && errno != EINTR)
			break;
		if (pid)
			continue;
		(void)poll(&pfd, 1, (int)((end - now) / NS_PER_MS) + 1);
		while (pfd.fd >= 0 && read(pfd.fd, &si, sizeof(si)) > 0)
			;
	}
}
