/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a control socket can be asked for. See control.h; the manual is docs/man/vmm.1. Loop thread.
 *
 * A command either does all of it and answers, or changes nothing and says why in one sentence.
 */
#include "vmm/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/fd.h"
#include "virtio/devices.h"
#include "vmm/run_args.h"

#define PAUSE_NS (5 * NS_PER_SEC)
#define STATS_NS (500 * NS_PER_MS) /* how long a guest may take to tell its statistics */

static void add_u64(struct json_object *o, const char *key, uint64_t v)
{
	(void)json_object_object_add(o, key, json_object_new_uint64(v));
}

static void add_str(struct json_object *o, const char *key, const char *v)
{
	if (v)
		(void)json_object_object_add(o, key, json_object_new_string(v));
}

static const char *get_str(struct json_object *req, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(req, key, &v) && json_object_is_type(v, json_type_string)
		   ? json_object_get_string(v)
		   : NULL;
}

static int get_size(struct json_object *req, const char *what, uint64_t *ret, struct err *e)
{
	const char *s = get_str(req, "size");

	if (s && run_parse_size(s, ret) == 0)
		return 0;
	return err_set(e, -EINVAL, "%s takes a size such as 128M, not '%s'", what, s ? s : "");
}

/* ---- info ----------------------------------------------------------------------------------------
 */
static void add_memory(const struct control_config *cf, struct json_object *o)
{
	struct json_object *m = json_object_new_object();
	struct machine_memory mem;

	machine_memory(cf->machine, &mem);
	add_u64(m, "boot", mem.boot);
	add_u64(m, "max", mem.max);
	add_u64(m, "wanted", mem.wanted);
	add_u64(m, "now", mem.now);
	if (mem.has_balloon) {
		const struct balloon_stats *b = &mem.balloon;
		const struct {
			const char *name;
			uint64_t v;
		} guest[] = {{"swap-in", b->swap_in},
			     {"swap-out", b->swap_out},
			     {"major-faults", b->major_faults},
			     {"minor-faults", b->minor_faults},
			     {"free", b->free},
			     {"total", b->total},
			     {"available", b->available},
			     {"caches", b->caches}};

		add_u64(m, "balloon-target", b->target);
		add_u64(m, "balloon", b->actual);
		add_u64(m, "reported", b->reported);
		for (size_t i = 0; b->guest && i < ARRAY_LEN(guest); i++)
			if (guest[i].v != BALLOON_STAT_NONE)
				add_u64(m, guest[i].name, guest[i].v);
	}
	(void)json_object_object_add(o, "memory", m);
}

static void add_disk_info(struct virtio_dev *dev, struct json_object *d)
{
	struct blk_info info;

	if (dev->ops->id != VIRTIO_ID_BLK)
		return;
	blk_info(dev, &info);
	add_u64(d, "bytes", info.bytes);
	(void)json_object_object_add(d, "spare", json_object_new_boolean(info.spare));
	(void)json_object_object_add(d, "readonly", json_object_new_boolean(info.readonly));
}

static struct json_object *describe_device(struct virtio_dev *dev, unsigned slot)
{
	struct json_object *d = json_object_new_object();
	uint8_t status = virtio_status(dev);

	add_str(d, "name", dev->name);
	add_str(d, "type", dev->ops->name);
	add_u64(d, "slot", slot);
	add_str(d, "driver",
		status & VIRTIO_S_NEEDS_RESET ? "failed"
		: status & VIRTIO_S_DRIVER_OK ? "running"
		: status		      ? "starting"
					      : "none");
	add_disk_info(dev, d);
	return d;
}

static void do_info(struct control_client *cl, struct json_object *req)
{
	const struct control_config *cf = control_of(cl);
	struct json_object *o = json_object_new_object(), *list = json_object_new_array();

	(void)req;
	add_str(o, "name", cf->run->name);
	add_u64(o, "pid", (uint64_t)getpid());
	add_str(o, "state",
		machine_is_saving(cf->machine)	 ? "saving"
		: machine_is_paused(cf->machine) ? "paused"
						 : "running");
	add_str(o, "kernel", cf->run->kernel);
	add_u64(o, "cpus", cf->run->cpus);
	add_u64(o, "uptime-ms",
		(clock_ns() - atomic_load(&cf->report->at[PHASE_EXEC])) / NS_PER_MS);
	add_memory(cf, o);
	for (unsigned i = 0; i < MACHINE_SLOTS_MAX; i++) {
		struct virtio_dev *dev = machine_device(cf->machine, i);

		if (dev)
			(void)json_object_array_add(list, describe_device(dev, i));
	}
	(void)json_object_object_add(o, "devices", list);
	control_answer(cl, o, NULL);
}

/* ---- statistics ----------------------------------------------------------------------------------
 */
static void sum(void *ctx, const char *name, uint64_t v)
{
	struct json_object *o = ctx, *was;

	if (json_object_object_get_ex(o, name, &was))
		v += json_object_get_uint64(was);
	add_u64(o, name, v);
}

static struct json_object *device_counters(struct virtio_dev *dev)
{
	struct json_object *d = json_object_new_object(), *qs = json_object_new_array();

	add_str(d, "name", dev->name);
	add_u64(d, "faults", dev->faults);
	if (dev->ops->counters)
		dev->ops->counters(dev, sum, d);
	for (unsigned i = 0; i < dev->queue_cnt; i++) {
		struct json_object *q = json_object_new_object();

		add_u64(q, "queue", i);
		add_u64(q, "kicks", dev->vq[i].kick_cnt);
		add_u64(q, "chains", dev->vq[i].chains);
		add_u64(q, "interrupts", dev->vq[i].interrupts);
		add_u64(q, "bytes-out", dev->vq[i].out_bytes);
		add_u64(q, "bytes-in", dev->vq[i].in_bytes);
		(void)json_object_array_add(qs, q);
	}
	(void)json_object_object_add(d, "queues", qs);
	return d;
}

static void answer_stats(struct control_client *cl)
{
	const struct control_config *cf = control_of(cl);
	struct json_object *o = json_object_new_object(), *devs = json_object_new_array();
	struct json_object *vm = json_object_new_object(), *vcpus = json_object_new_object();
	struct json_object *exits = json_object_new_object();
	static const char *const why[] = {"io", "mmio", "eoi", "interrupted", "other"};

	_Static_assert(ARRAY_LEN(why) == REPORT_EXIT_COUNT, "a name for each");
	for (unsigned i = 0; i < REPORT_EXIT_COUNT; i++)
		add_u64(exits, why[i], atomic_load(&cf->report->exits[i]));
	(void)json_object_object_add(o, "exits", exits);
	if (machine_kvm_stats(cf->machine, sum, vm, sum, vcpus) < 0)
		add_str(o, "kvm-missing", "this kernel tells no statistics of KVM");
	(void)json_object_object_add(o, "kvm", vm);
	(void)json_object_object_add(o, "vcpus", vcpus);
	add_memory(cf, o);
	for (unsigned i = 0; i < MACHINE_SLOTS_MAX; i++) {
		struct virtio_dev *dev = machine_device(cf->machine, i);

		if (dev)
			(void)json_object_array_add(devs, device_counters(dev));
	}
	(void)json_object_object_add(o, "devices", devs);
	control_answer(cl, o, NULL);
}

static void do_stats(struct control_client *cl, struct json_object *req)
{
	(void)req;
	/* A paused guest answers nothing. */
	if (!machine_is_paused(control_of(cl)->machine) &&
	    machine_ask_memory(control_of(cl)->machine))
		control_await_memory(cl, STATS_NS, answer_stats);
	else
		answer_stats(cl);
}

/* ---- life ----------------------------------------------------------------------------------------
 */
static void paused(void *ctx, int rc)
{
	struct err e = {0};

	if (rc == -ETIMEDOUT)
		err_set(&e, rc,
			"pause: a virtual CPU is busy on the host's side; the guest goes on");
	else if (rc < 0)
		err_sys(&e, rc, "pause");
	control_answer(ctx, NULL, &e);
}

static void pause_refused(struct err *e, int rc)
{
	if (rc == -EBUSY)
		err_set(e, rc, "pause: another one is on its way");
	else
		err_sys(e, rc, "pause");
}

static void do_pause(struct control_client *cl, struct json_object *req)
{
	struct err e = {0};
	int rc = machine_pause(control_of(cl)->machine, PAUSE_NS, paused, cl);

	(void)req;
	if (rc == 0)
		return;
	pause_refused(&e, rc);
	control_answer(cl, NULL, &e);
}

static void do_resume(struct control_client *cl, struct json_object *req)
{
	struct err e = {0};

	(void)req;
	if (machine_is_paused(control_of(cl)->machine))
		machine_resume(control_of(cl)->machine);
	else
		err_set(&e, -EINVAL, "resume: the guest is not paused");
	control_answer(cl, NULL, &e);
}

/* ---- saving --------------------------------------------------------------------------------------
 */
static void saved(void *ctx, const struct err *e)
{
	struct control_client *cl = ctx;
	struct json_object *o = json_object_new_object();
	struct stat st;

	if (!e->code && fstat(control_peek_fd(cl), &st) == 0)
		add_u64(o, "bytes", (uint64_t)st.st_size);
	control_answer(cl, o, e);
}

/* The guest ran when the request came, and does again when nothing came of it. */
static void saved_or_resume(void *ctx, const struct err *e)
{
	if (e->code)
		machine_resume(control_of(ctx)->machine);
	saved(ctx, e);
}

static void paused_to_save(void *ctx, int rc)
{
	struct control_client *cl = ctx;
	struct machine *m = control_of(cl)->machine;
	struct err e = {0};

	if (rc < 0) {
		paused(ctx, rc);
	} else if (machine_save(m, control_peek_fd(cl), saved_or_resume, cl, &e) < 0) {
		machine_resume(m);
		control_answer(cl, NULL, &e);
	}
}

static void do_save(struct control_client *cl, struct json_object *req)
{
	struct machine *m = control_of(cl)->machine;
	int fd = control_peek_fd(cl), flags = fd < 0 ? -1 : fcntl(fd, F_GETFL), rc = 0;
	struct err e = {0};
	struct stat st;

	(void)req;
	if (flags < 0)
		err_set(&e, -EINVAL, "save: no open file came with the request");
	else if ((flags & O_PATH) || (flags & O_ACCMODE) == O_RDONLY || (flags & O_APPEND) ||
		 fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size)
		err_set(&e, -EINVAL, "save: not an empty regular file that is open for writing");
	else if (machine_is_paused(m))
		rc = machine_save(m, fd, saved, cl, &e);
	else
		rc = machine_pause(m, PAUSE_NS, paused_to_save, cl);
	if (rc < 0 && !e.code)
		pause_refused(&e, rc);
	if (e.code)
		control_answer(cl, NULL, &e);
}

static void do_stop(struct control_client *cl, struct json_object *req)
{
	(void)req;
	control_answer(cl, NULL, NULL);
	control_of(cl)->stop(control_of(cl)->ctx);
}

/* ---- memory --------------------------------------------------------------------------------------
 */
static void do_memory(struct control_client *cl, struct json_object *req)
{
	struct json_object *o = json_object_new_object();
	struct err e = {0};
	uint64_t bytes;
	int rc = get_size(req, "memory", &bytes, &e);

	if (rc == 0)
		rc = machine_set_memory(control_of(cl)->machine, bytes, &e);
	if (rc == 0)
		add_memory(control_of(cl), o);
	control_answer(cl, o, &e);
}

static void do_balloon(struct control_client *cl, struct json_object *req)
{
	struct machine *m = control_of(cl)->machine;
	struct json_object *o = json_object_new_object();
	struct machine_memory mem;
	struct err e = {0};
	uint64_t bytes;

	machine_memory(m, &mem);
	if (!mem.has_balloon)
		err_set(&e, -ENODEV, "balloon: the machine was started without --balloon");
	else if (get_size(req, "balloon", &bytes, &e) == 0 && bytes > mem.boot - MACHINE_MEMORY_MIN)
		err_set(&e, -ERANGE, "balloon: %llu MiB of %llu would leave less than %llu",
			(unsigned long long)(bytes >> 20), (unsigned long long)(mem.boot >> 20),
			(unsigned long long)(MACHINE_MEMORY_MIN >> 20));
	else if (!e.code && machine_set_memory(m, mem.boot - bytes, &e) == 0)
		add_memory(control_of(cl), o);
	control_answer(cl, o, &e);
}

/* ---- disks ---------------------------------------------------------------------------------------
 */
static struct virtio_dev *find_device(const struct control_config *cf, uint32_t id,
				      const char *name)
{
	for (unsigned i = 0; i < MACHINE_SLOTS_MAX; i++) {
		struct virtio_dev *dev = machine_device(cf->machine, i);

		if (dev && dev->ops->id == id && !strcmp(dev->name, name))
			return dev;
	}
	return NULL;
}

static struct virtio_dev *find_spare(const struct control_config *cf, bool *any)
{
	*any = false;
	for (unsigned i = 0; i < MACHINE_SLOTS_MAX; i++) {
		struct virtio_dev *dev = machine_device(cf->machine, i);
		struct blk_info info;

		if (!dev || dev->ops->id != VIRTIO_ID_BLK)
			continue;
		blk_info(dev, &info);
		*any = *any || info.was_spare;
		if (info.spare)
			return dev;
	}
	return NULL;
}

static void do_add_disk(struct control_client *cl, struct json_object *req)
{
	const struct control_config *cf = control_of(cl);
	struct json_object *o = json_object_new_object();
	int fd = control_take_fd(cl), flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);
	struct virtio_dev *dev;
	struct err e = {0};
	bool any;

	(void)req;
	dev = find_spare(cf, &any);
	if (flags < 0)
		err_set(&e, -EINVAL, "add-disk: no open file came with the request");
	else if ((flags & O_ACCMODE) == O_WRONLY || (flags & O_PATH))
		err_set(&e, -EINVAL, "add-disk: the file is not open for reading");
	else if (!dev)
		err_set(&e, -ENOSPC,
			any ? "add-disk: all spare disks are in use"
			    : "add-disk: the machine was started without --spare-disk");
	else if (blk_attach(dev, fd_take(&fd), (flags & O_ACCMODE) == O_RDONLY, &e) == 0)
		add_str(o, "disk", dev->name);
	fd_close(&fd);
	control_answer(cl, o, &e);
}

static void do_resize_disk(struct control_client *cl, struct json_object *req)
{
	const char *name = get_str(req, "disk");
	struct virtio_dev *dev = find_device(control_of(cl), VIRTIO_ID_BLK, name ? name : "");
	struct json_object *o = json_object_new_object();
	uint64_t bytes = 0;
	struct err e = {0};
	struct blk_info info;

	if (!dev)
		err_set(&e, -ENOENT, "resize-disk: there is no disk '%s'", name ? name : "");
	else if ((!get_str(req, "size") || get_size(req, "resize-disk", &bytes, &e) == 0) &&
		 blk_resize(dev, bytes, &e) == 0) {
		blk_info(dev, &info);
		add_str(o, "disk", dev->name);
		add_u64(o, "bytes", info.bytes);
	}
	control_answer(cl, o, &e);
}

/* ---- network cards -------------------------------------------------------------------------------
 */
static void do_link(struct control_client *cl, struct json_object *req)
{
	const char *name = get_str(req, "nic"), *state = get_str(req, "state");
	struct virtio_dev *dev = find_device(control_of(cl), VIRTIO_ID_NET, name ? name : "");
	bool up = state && !strcmp(state, "up");
	struct err e = {0};

	if (!dev)
		err_set(&e, -ENOENT, "link: there is no network card '%s'", name ? name : "");
	else if (!up && (!state || strcmp(state, "down") != 0))
		err_set(&e, -EINVAL, "link takes up or down, not '%s'", state ? state : "");
	else if (net_set_link(dev, up) < 0)
		err_set(&e, -EPIPE, "link: the other end of '%s' has gone", name);
	control_answer(cl, NULL, &e);
}

/* ---- table ---------------------------------------------------------------------------------------
 */
static const struct {
	const char *name;
	void (*fn)(struct control_client *cl, struct json_object *req);
	bool in_save; /* is answered while the machine is being saved */
} commands[] = {
    {"info", do_info, true},	      {"stats", do_stats, true},
    {"pause", do_pause, false},	      {"resume", do_resume, false},
    {"save", do_save, false},	      {"stop", do_stop, true},
    {"memory", do_memory, false},     {"balloon", do_balloon, false},
    {"add-disk", do_add_disk, false}, {"resize-disk", do_resize_disk, false},
    {"link", do_link, false},
};

void control_do(struct control_client *cl, struct json_object *req)
{
	const char *name = get_str(req, "command");
	struct err e = {0};
	size_t i = 0;

	while (name && i < ARRAY_LEN(commands) && strcmp(commands[i].name, name) != 0)
		i++;
	if (!name || i == ARRAY_LEN(commands))
		err_set(&e, -EINVAL, "unknown command '%.64s'", name ? name : "");
	else if (!commands[i].in_save && machine_is_saving(control_of(cl)->machine))
		err_set(&e, -EBUSY, "%s: the machine is being saved", name);
	else
		commands[i].fn(cl, req);
	if (e.code)
		control_answer(cl, NULL, &e);
}
