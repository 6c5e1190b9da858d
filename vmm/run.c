/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `vmm run`: opens what was asked for, makes the machine, and moves bytes between the guest's console and
 * stdio until the guest ends. One loop, the main thread's.
 */
#include "vmm/run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/endian.h"
#include "base/fd.h"
#include "virtio/devices.h"
#include "vmm/run_dev.h"

#define OUT_MAX 65536u
#define IN_MAX  4096u

struct run {
	const struct run_config *cfg;
	struct report *report;
	struct loop *loop;
	struct machine *machine;
	struct virtio_dev *console;

	/* Console output: copied here, written by the loop. */
	int out_fd;
	uint8_t out[OUT_MAX];
	size_t out_head, out_cnt; /* a ring */
	struct loop_op out_op;
	bool out_stalled;

	/* Input for the console, or for the serial port when there is no console. */
	int in_fd;
	uint8_t in[IN_MAX];
	size_t in_off, in_len;
	struct loop_op in_op;
	struct loop_work in_room;

	int sig_fd;
	struct signalfd_siginfo sig;
	struct loop_op sig_op;

	enum machine_end why;
	int status;
	int signo;
};

/* ---- output ------------------------------------------------------------------------------------ */
static void out_start(struct run *r)
{
	size_t part = MIN(r->out_cnt, OUT_MAX - r->out_head);

	if (part && !r->out_op.busy)
		loop_write(r->loop, &r->out_op, r->out_fd, r->out + r->out_head, (unsigned)part,
			   LOOP_NO_OFF);
}

static void out_done(struct loop_op *op, int res, unsigned flags)
{
	struct run *r = container_of(op, struct run, out_op);

	(void)flags;
	/* Nobody reads any more: the guest's words go nowhere, and it goes on. */
	if (res < 0 && res != -EINTR && res != -EAGAIN)
		res = (int)MIN(r->out_cnt, OUT_MAX - r->out_head);
	if (res > 0) {
		r->out_head = (r->out_head + (size_t)res) % OUT_MAX;
		r->out_cnt -= (size_t)res;
	}
	out_start(r);
	if (r->out_stalled && r->out_cnt < OUT_MAX) {
		r->out_stalled = false;
		vcon_output_resume(r->console, 0);
	}
}

static size_t con_output(void *ctx, const struct iovec *iov, unsigned cnt, size_t len)
{
	struct run *r = ctx;
	size_t taken = 0;

	report_stamp(r->report, PHASE_CONSOLE);
	while (taken < len && r->out_cnt < OUT_MAX) {
		size_t tail = (r->out_head + r->out_cnt) % OUT_MAX;
		size_t room = MIN(OUT_MAX - tail, OUT_MAX - r->out_cnt);
		size_t n = iov_read(iov, cnt, taken, r->out + tail, MIN(room, len - taken));

		r->out_cnt += n;
		taken += n;
	}
	r->out_stalled = taken < len;
	out_start(r);
	return taken;
}

static void serial_output(void *ctx, const void *buf, size_t len)
{
	(void)ctx;
	if (fd_write_full(STDOUT_FILENO, buf, len) < 0)
		return; /* nobody reads any more */
}

/* What the loop did not get to write before the guest ended. */
static void out_flush(struct run *r)
{
	while (r->out_cnt) {
		size_t part = MIN(r->out_cnt, OUT_MAX - r->out_head);

		if (fd_write_full(r->out_fd, r->out + r->out_head, part) < 0)
			return;
		r->out_head = (r->out_head + part) % OUT_MAX;
		r->out_cnt -= part;
	}
}

/* ---- input ------------------------------------------------------------------------------------- */
static void in_pump(struct run *r)
{
	size_t n;

	if (r->in_op.busy || r->in_fd < 0)
		return;
	if (r->in_off < r->in_len) {
		if (r->console)
			n = vcon_send(r->console, 0, r->in + r->in_off, r->in_len - r->in_off);
		else
			n = machine_serial_in(r->machine, r->in + r->in_off, r->in_len - r->in_off);
		r->in_off += n;
		if (r->in_off < r->in_len)
			return; /* room() comes */
	}
	loop_read(r->loop, &r->in_op, r->in_fd, r->in, IN_MAX, LOOP_NO_OFF);
}

static void in_done(struct loop_op *op, int res, unsigned flags)
{
	struct run *r = container_of(op, struct run, in_op);

	(void)flags;
	if (res == -EINTR || res == -EAGAIN) {
		in_pump(r);
		return;
	}
	if (res <= 0) {
		r->in_fd = -1; /* end of input; the guest goes on */
		return;
	}
	r->in_off = 0;
	r->in_len = (size_t)res;
	in_pump(r);
}

static void con_room(void *ctx)
{
	in_pump(ctx);
}

static void in_room_work(struct loop_work *w)
{
	in_pump(container_of(w, struct run, in_room));
}

static void serial_room(void *ctx)
{
	struct run *r = ctx;

	loop_post(r->loop, &r->in_room);
}

static const struct vcon_port_ops con_ops = {.output = con_output, .input_room = con_room};

/* ---- signals, end ------------------------------------------------------------------------------ */
static void sig_done(struct loop_op *op, int res, unsigned flags)
{
	struct run *r = container_of(op, struct run, sig_op);

	(void)flags;
	if (res != (int)sizeof(r->sig))
		return;
	r->signo = (int)r->sig.ssi_signo;
	machine_stop(r->machine);
}

static int catch_signals(struct run *r, struct err *e)
{
	sigset_t set;
	int rc;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGHUP);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	r->sig_fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (r->sig_fd < 0) {
		rc = -errno;
		return err_sys(e, rc, "signalfd");
	}
	r->sig_op.done = sig_done;
	r->sig_op.what = "signals";
	loop_read(r->loop, &r->sig_op, r->sig_fd, &r->sig, sizeof(r->sig), LOOP_NO_OFF);
	return 0;
}

static void on_ended(void *ctx, enum machine_end why, int status, const char *msg)
{
	struct run *r = ctx;

	r->why = why;
	r->status = status;
	if (msg)
		fprintf(stderr, "vmm: %s\n", msg);
	loop_stop(r->loop);
}

static int exit_status(const struct run *r)
{
	switch (r->why) {
	case MACHINE_RESET:
	case MACHINE_POWEROFF:
		return 0;
	case MACHINE_EXIT:
		return r->status;
	case MACHINE_PANIC:
		fprintf(stderr, "vmm: the guest's kernel panicked\n");
		return 1;
	case MACHINE_TRIPLE_FAULT:
		fprintf(stderr, "vmm: the guest crashed (triple fault)\n");
		return 1;
	case MACHINE_STOPPED:
		return 128 + r->signo;
	default:
		return 1;
	}
}

/* ---- making ------------------------------------------------------------------------------------ */
static int add_console(struct run *r, struct err *e)
{
	struct vcon_port_config port = {.console = true, .ops = &con_ops, .ctx = r};
	int rc;

	if (r->cfg->console == RUN_CONSOLE_NONE)
		return 0;
	if (r->cfg->console == RUN_CONSOLE_FILE) {
		r->out_fd = run_open("console", r->cfg->console_file, O_WRONLY | O_CREAT | O_TRUNC, e);
		if (r->out_fd < 0)
			return r->out_fd;
	} else {
		r->out_fd = STDOUT_FILENO;
		r->in_fd = STDIN_FILENO;
	}
	rc = vcon_new(&r->console, "console0", &port, 1, e);
	if (rc == 0)
		rc = machine_plug(r->machine, r->console, NULL, e);
	if (rc < 0)
		r->console = NULL;
	return rc;
}

/* What the kernel has to be told to mount @fd, by its magic number; "" when unknown. */
static const char *root_words(int fd)
{
	uint8_t b[2048];

	if (fd_pread_full(fd, b, sizeof(b), 0) != (ssize_t)sizeof(b))
		return "";
	if (b[1024] == 0xe2 && b[1025] == 0xe1 && b[1026] == 0xf5 && b[1027] == 0xe0)
		return " rootfstype=erofs rootflags=dax=always";
	if (b[1080] == 0x53 && b[1081] == 0xef)
		return " rootfstype=ext4 rootflags=dax=always";
	return "";
}

/* The user's words come last. */
static int make_append(const struct run *r, char **ret, struct err *e)
{
	const struct run_config *cfg = r->cfg;
	char root[160] = "";
	unsigned nth = 0;

	for (unsigned i = 0; i < cfg->pmem_cnt; i++) {
		auto_fd fd = -1;

		if (!cfg->pmem[i].root)
			continue;
		fd = run_open("pmem", cfg->pmem[i].path, O_RDONLY, e);
		if (fd < 0)
			return fd;
		/* Read-only windows are found first, in their order; then writable ones. */
		for (unsigned k = 0; k < cfg->pmem_cnt; k++) {
			if (cfg->pmem[k].readonly == cfg->pmem[i].readonly ? k < i : cfg->pmem[k].readonly)
				nth++;
		}
		(void)snprintf(root, sizeof(root), " root=/dev/pmem%u %s%s", nth,
			       cfg->pmem[i].readonly ? "ro" : "rw", root_words(fd));
		break;
	}
	if (asprintf(ret, "%s%s%s%s%s", cfg->serial ? "console=ttyS0" : "",
		     cfg->serial && cfg->console != RUN_CONSOLE_NONE ? " " : "",
		     cfg->console != RUN_CONSOLE_NONE ? "console=hvc0" : "", root, "") < 0)
		return err_set(e, -ENOMEM, "out of memory");
	if (cfg->append[0]) {
		char *all;

		if (asprintf(&all, "%s%s%s", *ret, **ret ? " " : "", cfg->append) < 0)
			return err_set(e, -ENOMEM, "out of memory");
		free(*ret);
		*ret = all;
	}
	return 0;
}

static int make_machine(struct run *r, struct err *e)
{
	const struct run_config *cfg = r->cfg;
	auto_fd kernel = run_open("kernel", cfg->kernel, O_RDONLY, e);
	auto_fd initrd = -1;
	auto_free char *append = NULL;
	struct machine_config mc = {.kernel_name = cfg->kernel,
				    .initrd_fd = -1,
				    .initrd_name = cfg->initrd,
				    .cpus = cfg->cpus,
				    .memory = cfg->memory,
				    .hw = cfg->hw,
				    .serial = cfg->serial,
				    .serial_out = serial_output,
				    .serial_room = serial_room,
				    .ended = on_ended,
				    .ctx = r,
				    .report = r->report};
	int rc;

	if (kernel < 0)
		return kernel;
	if (cfg->initrd) {
		initrd = run_open("initrd", cfg->initrd, O_RDONLY, e);
		if (initrd < 0)
			return initrd;
	}
	rc = make_append(r, &append, e);
	if (rc < 0)
		return rc;
	mc.kernel_fd = kernel;
	mc.initrd_fd = initrd;
	mc.cmdline = append;
	report_stamp(r->report, PHASE_CONFIG);
	rc = machine_new(&r->machine, &mc, r->loop, e);
	if (rc == 0)
		rc = run_add_devices(r->machine, cfg, e);
	if (rc == 0)
		rc = add_console(r, e);
	if (rc == 0 && !r->console && cfg->serial)
		r->in_fd = STDIN_FILENO;
	return rc == 0 ? machine_start(r->machine, e) : rc;
}

static struct run *run_new(const struct run_config *cfg, struct report *report)
{
	struct run *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->cfg = cfg;
	r->report = report;
	r->out_fd = r->in_fd = r->sig_fd = -1;
	r->out_op.done = out_done;
	r->out_op.what = "console output";
	r->in_op.done = in_done;
	r->in_op.what = "console input";
	r->in_room.fn = in_room_work;
	return r;
}

int run_machine(const struct run_config *cfg, struct report *report)
{
	struct run *r = run_new(cfg, report);
	struct err e = {0};
	int rc, status = 1;

	if (!r) {
		fprintf(stderr, "vmm: out of memory\n");
		return 1;
	}
	rc = loop_new(&r->loop, 256, &e);
	if (rc == 0)
		rc = catch_signals(r, &e);
	if (rc == 0)
		rc = make_machine(r, &e);
	if (rc == 0) {
		in_pump(r);
		rc = loop_run(r->loop);
		if (rc < 0)
			err_sys(&e, rc, "event loop");
	}
	if (rc == 0)
		status = exit_status(r);
	else
		fprintf(stderr, "vmm: %s\n", e.msg);
	r->in_fd = -1;
	machine_free(r->machine);
	loop_free(r->loop);
	out_flush(r);
	if (cfg->report != RUN_REPORT_NONE)
		report_print(report, stderr, cfg->report == RUN_REPORT_JSON);
	fd_close(&r->sig_fd);
	if (cfg->console == RUN_CONSOLE_FILE)
		fd_close(&r->out_fd);
	free(r);
	return status;
}
