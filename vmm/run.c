/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `vmm run`: opens what was asked for, makes the machine, and moves bytes between the guest's
 * console and stdio until the guest ends. One loop, the main thread's.
 *
 * stdin and stdout are inherited: their open file descriptions belong to others too, so O_NONBLOCK
 * is neither set nor taken away, and both kinds work.
 */
#include "vmm/run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/endian.h"
#include "base/fd.h"
#include "base/log.h"
#include "virtio/devices.h"
#include "vmm/control.h"
#include "vmm/run_dev.h"
#include "vmm/term.h"

#define OUT_MAX 65536u
#define IN_MAX	4096u
/* After a signal or Ctrl-a x, a reader that has stopped reading gets so long to take the last
 * output. */
#define LAST_OUTPUT_MS 200
/* How often a process in the background looks whether the terminal is its own again: nothing tells.
 */
#define FOREGROUND_NS 300000000ull
/* What a pipe that poll() calls writable takes without blocking. */
#define PIPE_ROOM 4096u

struct run {
	struct run_config *cfg;
	struct report *report;
	struct loop *loop;
	struct machine_saved *saved;
	struct machine *machine;
	struct virtio_dev *console;
	struct control *control;

	/* Console output: copied here, written by the loop. */
	int out_fd;
	uint8_t out[OUT_MAX];
	size_t out_head, out_cnt; /* a ring */
	struct loop_op out_op, out_poll;
	bool out_stalled, closing;

	/* Input for the console, or for the serial port when there is no console. */
	int in_fd;
	uint8_t in[IN_MAX];
	size_t in_off, in_len;	/* for the guest */
	size_t in_next, in_end; /* behind a command: not gone through yet */
	struct loop_op in_op, in_poll;
	struct loop_work in_room;
	struct loop_timer settle;
	uint64_t settle_ns; /* when the console was last seen to be set up or printing */
	bool settled;
	bool tty; /* it is a terminal */
	struct term_escape escape;
	struct loop_timer foreground;

	int sig_fd;
	struct signalfd_siginfo sig;
	struct loop_op sig_op;

	enum machine_end why;
	int status;
	int signo;
	bool quit;	   /* Ctrl-a x */
	atomic_bool hurry; /* it was told to end: nobody waits for readers any more */
};

/* One sentence on stderr, with the machine's name. */
static void PRINTF_LIKE(2, 3) say(const struct run_config *cfg, const char *fmt, ...)
{
	char text[1400];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(stderr, "vmm: %s%s%s\n", cfg->name ? cfg->name : "", cfg->name ? ": " : "", text);
}

/* ---- output ------------------------------------------------------------------------------------
 */
static void out_start(struct run *r)
{
	size_t part = MIN(r->out_cnt, OUT_MAX - r->out_head);

	if (part && !r->out_op.busy && !r->out_poll.busy && !r->closing)
		loop_write(r->loop, &r->out_op, r->out_fd, r->out + r->out_head, (unsigned)part,
			   LOOP_NO_OFF);
}

static void out_done(struct loop_op *op, int res, unsigned flags)
{
	struct run *r = container_of(op, struct run, out_op);

	(void)flags;
	if (res == -EAGAIN && !r->closing) { /* O_NONBLOCK */
		loop_poll(r->loop, &r->out_poll, r->out_fd, POLLOUT);
		return;
	}
	/* Nobody reads any more: the guest's words go nowhere, and it goes on. */
	if (res < 0 && res != -EINTR && res != -EAGAIN && res != -ECANCELED)
		res = (int)MIN(r->out_cnt, OUT_MAX - r->out_head);
	if (res > 0) {
		r->out_head = (r->out_head + (size_t)res) % OUT_MAX;
		r->out_cnt -= (size_t)res;
	}
	out_start(r);
	if (r->out_stalled && r->out_cnt < OUT_MAX && !r->closing) {
		r->out_stalled = false;
		vcon_output_resume(r->console, 0);
	}
}

static void out_ready(struct loop_op *op, int res, unsigned flags)
{
	(void)res;
	(void)flags;
	out_start(container_of(op, struct run, out_poll));
}

static size_t con_output(void *ctx, const struct iovec *iov, unsigned cnt, size_t len)
{
	struct run *r = ctx;
	size_t taken = 0;

	report_stamp(r->report, PHASE_CONSOLE);
	r->settle_ns = r->settled ? 0 : clock_ns();
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

/*
 * Writes without a loop, waiting for the reader; no longer than LAST_OUTPUT_MS at a time once the
 * end was asked for. Returns how much was taken.
 */
static size_t write_patiently(struct run *r, int fd, const uint8_t *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		struct pollfd p[2] = {{.fd = fd, .events = POLLOUT}, {.fd = -1, .events = POLLIN}};
		bool hurry = atomic_load(&r->hurry);
		ssize_t n;

		/* After the loop's end signals are noticed here. */
		if (r->closing)
			p[1].fd = r->sig_fd;
		if (poll(p, 2, LAST_OUTPUT_MS) < 0 && errno != EINTR)
			break;
		if (p[1].revents)
			break;
		if (!p[0].revents) {
			if (hurry)
				break;
			continue;
		}
		n = write(fd, buf + done, MIN(len - done, PIPE_ROOM));
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			break; /* nobody reads any more */
		done += n > 0 ? (size_t)n : 0;
	}
	return done;
}

static void serial_output(void *ctx, const void *buf, size_t len)
{
	(void)write_patiently(ctx, STDOUT_FILENO, buf, len);
}

/* What the loop did not get to write before the guest ended. */
static void out_flush(struct run *r)
{
	while (r->out_cnt) {
		size_t part = MIN(r->out_cnt, OUT_MAX - r->out_head);

		if (write_patiently(r, r->out_fd, r->out + r->out_head, part) < part)
			return;
		r->out_head = (r->out_head + part) % OUT_MAX;
		r->out_cnt -= part;
	}
}

/* ---- input -------------------------------------------------------------------------------------
 */
static void end_now(struct run *r)
{
	atomic_store(&r->hurry, true);
	machine_stop(r->machine);
}

/* Takes the next part of what was read, up to a command. False: there is none. */
static bool in_take(struct run *r)
{
	enum term_cmd cmd = TERM_CMD_NONE;
	size_t keep = r->in_end - r->in_next, used = keep;

	if (r->in_next == r->in_end)
		return false;
	if (r->tty)
		used = term_filter(&r->escape, r->in + r->in_next, r->in_end - r->in_next, &keep,
				   &cmd);
	r->in_off = r->in_next;
	r->in_len = r->in_next + keep;
	r->in_next += used;
	if (cmd == TERM_CMD_QUIT) {
		r->quit = true;
		end_now(r);
	} else if (cmd == TERM_CMD_HELP) {
		(void)write_patiently(r, STDERR_FILENO, (const uint8_t *)TERM_HELP_TEXT,
				      sizeof(TERM_HELP_TEXT) - 1);
	}
	return true;
}

/* In the background a read would stop us, or fail: the guest goes on without input. */
static bool in_background(struct run *r)
{
	if (!r->tty || term_foreground(r->in_fd))
		return false;
	if (!r->foreground.op.busy)
		loop_timer(r->loop, &r->foreground, clock_ns() + FOREGROUND_NS);
	return true;
}

static void in_pump(struct run *r)
{
	size_t n;

	if (r->in_op.busy || r->in_poll.busy || r->in_fd < 0 || r->closing)
		return;
	do {
		if (r->in_off == r->in_len)
			continue;
		if (r->console && !r->settled)
			return; /* settle_done() comes */
		if (r->console)
			n = vcon_send(r->console, 0, r->in + r->in_off, r->in_len - r->in_off);
		else
			n = machine_serial_in(r->machine, r->in + r->in_off, r->in_len - r->in_off);
		r->in_off += n;
		if (r->in_off < r->in_len)
			return; /* room() comes */
	} while (in_take(r));
	if (!in_background(r))
		loop_read(r->loop, &r->in_op, r->in_fd, r->in, IN_MAX, LOOP_NO_OFF);
}

/*
 * Linux posts the console's receive buffers before it would keep what is put there, and prints its
 * log in between; nothing says when that is over. So input begins when it has been quiet for a
 * moment.
 */
#define SETTLE_NS (100 * NS_PER_MS)

static void con_opened(void *ctx, bool open)
{
	struct run *r = ctx;

	if (!open || r->settled || r->closing)
		return;
	r->settle_ns = clock_ns();
	if (!r->settle.op.busy)
		loop_timer(r->loop, &r->settle, r->settle_ns + SETTLE_NS);
}

static void settle_done(struct loop_op *op, int res, unsigned flags)
{
	struct run *r = container_of(op, struct run, settle.op);

	(void)flags;
	if (res != -ETIME || r->closing)
		return;
	if (clock_ns() - r->settle_ns < SETTLE_NS) {
		loop_timer(r->loop, &r->settle, r->settle_ns + SETTLE_NS);
		return;
	}
	r->settled = true;
	in_pump(r);
}

static void in_done(struct loop_op *op, int res, unsigned flags)
{
	struct run *r = container_of(op, struct run, in_op);

	(void)flags;
	if (r->closing)
		return;
	if (res == -EAGAIN) { /* O_NONBLOCK */
		loop_poll(r->loop, &r->in_poll, r->in_fd, POLLIN);
		return;
	}
	/* -EIO: it came into the background while reading. */
	if (res == -EINTR || (res == -EIO && in_background(r))) {
		in_pump(r);
		return;
	}
	if (res <= 0) {
		r->in_fd = -1; /* end of input; the guest goes on */
		return;
	}
	r->in_off = r->in_len = r->in_next = 0;
	r->in_end = (size_t)res;
	in_pump(r);
}

static void in_ready(struct loop_op *op, int res, unsigned flags)
{
	(void)res;
	(void)flags;
	in_pump(container_of(op, struct run, in_poll));
}

static void foreground_done(struct loop_op *op, int res, unsigned flags)
{
	struct run *r = container_of(op, struct run, foreground.op);

	(void)res;
	(void)flags;
	if (r->closing || r->in_fd < 0)
		return;
	if (term_foreground(r->in_fd))
		(void)term_raw(r->in_fd);
	in_pump(r);
}

static void resize(struct run *r)
{
	uint16_t cols, rows;

	if (r->console && r->cfg->console == RUN_CONSOLE_STDIO &&
	    (term_size(STDOUT_FILENO, &cols, &rows) || term_size(STDIN_FILENO, &cols, &rows)))
		vcon_resize(r->console, 0, cols, rows);
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

static const struct vcon_port_ops con_ops = {
    .output = con_output, .input_room = con_room, .opened = con_opened};

/* ---- signals, end ------------------------------------------------------------------------------
 */
static void sig_arm(struct run *r)
{
	loop_read(r->loop, &r->sig_op, r->sig_fd, &r->sig, sizeof(r->sig), LOOP_NO_OFF);
}

static void sig_done(struct loop_op *op, int res, unsigned flags)
{
	struct run *r = container_of(op, struct run, sig_op);

	(void)flags;
	if (r->closing || res != (int)sizeof(r->sig))
		return;
	switch (r->sig.ssi_signo) {
	case SIGWINCH:
		resize(r);
		break;
	case SIGCONT:
		/* The shell had the terminal meanwhile. */
		if (r->in_fd >= 0 && r->tty && term_foreground(r->in_fd))
			(void)term_raw(r->in_fd);
		resize(r);
		break;
	default:
		r->signo = (int)r->sig.ssi_signo;
		end_now(r);
		break;
	}
	sig_arm(r);
}

/* Those that end the process, unless whoever started it wanted them ignored (nohup, a shell's &).
 */
static void add_unless_ignored(sigset_t *set, int signo)
{
	struct sigaction sa;

	if (sigaction(signo, NULL, &sa) < 0 || sa.sa_handler != SIG_IGN)
		(void)sigaddset(set, signo);
}

static int catch_signals(struct run *r, struct err *e)
{
	sigset_t set;
	int rc;

	(void)sigemptyset(&set);
	add_unless_ignored(&set, SIGINT);
	add_unless_ignored(&set, SIGTERM);
	add_unless_ignored(&set, SIGHUP);
	(void)sigaddset(&set, SIGWINCH);
	(void)sigaddset(&set, SIGCONT);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGTTIN, SIG_IGN);
	r->sig_fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (r->sig_fd < 0) {
		rc = -errno;
		return err_sys(e, rc, "signalfd");
	}
	r->sig_op.done = sig_done;
	r->sig_op.what = "signals";
	sig_arm(r);
	return 0;
}

static void on_ended(void *ctx, enum machine_end why, int status, const char *msg)
{
	struct run *r = ctx;

	r->why = why;
	r->status = status;
	term_restore();
	if (msg)
		say(r->cfg, "%s", msg);
	loop_stop(r->loop);
}

static void control_stop(void *ctx)
{
	struct run *r = ctx;

	r->quit = true;
	end_now(r);
}

static void memory_changed(void *ctx)
{
	struct run *r = ctx;

	control_memory_changed(r->control);
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
		say(r->cfg, "the guest's kernel panicked");
		return 1;
	case MACHINE_TRIPLE_FAULT:
		say(r->cfg, "the guest crashed (triple fault)");
		return 1;
	case MACHINE_STOPPED:
		return r->quit ? 0 : 128 + r->signo;
	default:
		return 1;
	}
}

/* ---- making ------------------------------------------------------------------------------------
 */
static int add_console(struct run *r, struct err *e)
{
	struct vcon_port_config port = {.console = true, .ops = &con_ops, .ctx = r};
	int rc;

	if (r->cfg->console == RUN_CONSOLE_NONE)
		return 0;
	if (r->cfg->console == RUN_CONSOLE_FILE) {
		r->out_fd =
		    run_open("console", r->cfg->console_file, O_WRONLY | O_CREAT | O_TRUNC, e);
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

/* The user's words come last. */
static int make_append(const struct run *r, char **ret, struct err *e)
{
	const struct run_config *cfg = r->cfg;
	char root[160] = "";
	int rc = run_root(cfg, root, sizeof(root), e);

	if (rc < 0)
		return rc;
	if (asprintf(ret, "%s%s%s%s%s", cfg->serial ? "console=ttyS0" : "",
		     cfg->serial && cfg->console != RUN_CONSOLE_NONE ? " " : "",
		     cfg->console != RUN_CONSOLE_NONE ? "console=hvc0" : "", root, "") < 0)
		return err_set(e, -ENOMEM, "out of memory");
	if (cfg->append && cfg->append[0]) {
		char *all;

		if (asprintf(&all, "%s%s%s", *ret, **ret ? " " : "", cfg->append) < 0)
			return err_set(e, -ENOMEM, "out of memory");
		free(*ret);
		*ret = all;
	}
	return 0;
}

static int add_control(struct run *r, struct err *e)
{
	struct control_config cc = {.run = r->cfg,
				    .loop = r->loop,
				    .machine = r->machine,
				    .report = r->report,
				    .stop = control_stop,
				    .ctx = r};

	return control_new(&r->control, r->cfg->control, &cc, e);
}

/* A machine that begins: its kernel, and what that is told. What is opened stays the caller's. */
static int open_kernel(const struct run *r, struct machine_config *mc, int *kernel, int *initrd,
		       char **append, struct err *e)
{
	const struct run_config *cfg = r->cfg;
	int rc;

	*kernel = run_open("kernel", cfg->kernel, O_RDONLY, e);
	if (*kernel < 0)
		return *kernel;
	if (cfg->initrd) {
		*initrd = run_open("initrd", cfg->initrd, O_RDONLY, e);
		if (*initrd < 0)
			return *initrd;
	}
	rc = make_append(r, append, e);
	if (rc < 0)
		return rc;
	mc->kernel_fd = *kernel;
	mc->initrd_fd = *initrd;
	mc->cmdline = *append;
	return 0;
}

/* One that goes on: what it has is in the file. What the options say is compared by the machine. */
static int open_saved(struct run *r, struct machine_config *mc, struct err *e)
{
	struct run_config *cfg = r->cfg;
	int rc = machine_saved_open(&r->saved, cfg->restore, e);

	if (rc < 0)
		return rc;
	machine_saved_config(r->saved, mc);
	if (!cfg->cpus)
		cfg->cpus = mc->cpus;
	if (!cfg->memory)
		cfg->memory = mc->memory;
	if (cfg->cpus != mc->cpus)
		return err_set(e, -EINVAL, "--cpus: '%s' was saved with %u CPUs, not %u",
			       cfg->restore, mc->cpus, cfg->cpus);
	if (cfg->memory != mc->memory)
		return err_set(e, -EINVAL, "--memory: '%s' was saved with %llu MiB, not %llu",
			       cfg->restore, (unsigned long long)(mc->memory >> 20),
			       (unsigned long long)(cfg->memory >> 20));
	return 0;
}

static int make_machine(struct run *r, struct err *e)
{
	const struct run_config *cfg = r->cfg;
	auto_fd kernel = -1;
	auto_fd initrd = -1;
	auto_free char *append = NULL;
	struct machine_config mc = {.kernel_name = cfg->kernel,
				    .kernel_fd = -1,
				    .initrd_fd = -1,
				    .initrd_name = cfg->initrd,
				    .cpus = cfg->cpus,
				    .memory = cfg->memory,
				    .hw = cfg->hw,
				    .serial = cfg->serial,
				    .kvm_stats = cfg->control != NULL,
				    .serial_out = serial_output,
				    .serial_room = serial_room,
				    .ended = on_ended,
				    .memory_changed = memory_changed,
				    .ctx = r,
				    .report = r->report};
	int rc = cfg->restore ? open_saved(r, &mc, e)
			      : open_kernel(r, &mc, &kernel, &initrd, &append, e);

	if (rc < 0)
		return rc;
	report_stamp(r->report, PHASE_CONFIG);
	rc = machine_new(&r->machine, &mc, r->loop, e);
	if (rc == 0)
		rc = run_add_devices(r->machine, cfg, e);
	if (rc == 0)
		rc = add_console(r, e);
	if (rc == 0 && !r->console && cfg->serial)
		r->in_fd = STDIN_FILENO;
	if (rc == 0 && cfg->control)
		rc = add_control(r, e);
	return rc == 0 ? machine_start(r->machine, e) : rc;
}

static struct run *run_new(struct run_config *cfg, struct report *report)
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
	r->settle.op.done = settle_done;
	r->settle.op.what = "console input";
	r->out_poll.done = out_ready;
	r->out_poll.what = "console output, room";
	r->in_poll.done = in_ready;
	r->in_poll.what = "console input, more";
	r->foreground.op.done = foreground_done;
	r->foreground.op.what = "terminal";
	return r;
}

static void start_stdio(struct run *r)
{
	r->tty = r->in_fd >= 0 && isatty(r->in_fd);
	if (r->tty && term_foreground(r->in_fd))
		(void)term_raw(r->in_fd);
	resize(r);
	in_pump(r);
}

/* The process and its log lines get the machine's name. */
static void use_name(const char *name)
{
	static char program[64]; /* kept by the log */
	struct log_config log = *log_current();
	char comm[16];

	if (!name)
		return;
	(void)snprintf(comm, sizeof(comm), "vmm:%s", name);
	(void)prctl(PR_SET_NAME, comm);
	(void)snprintf(program, sizeof(program), "vmm: %s", name);
	log.program = program;
	log_setup(&log);
}

int run_machine(struct run_config *cfg, struct report *report)
{
	struct run *r = run_new(cfg, report);
	struct err e = {0};
	int rc, status = 1;

	if (!r) {
		fprintf(stderr, "vmm: out of memory\n");
		return 1;
	}
	report->wanted = cfg->report != RUN_REPORT_NONE;
	use_name(cfg->name);
	rc = loop_new(&r->loop, 256, &e);
	if (rc == 0)
		rc = catch_signals(r, &e);
	if (rc == 0)
		rc = make_machine(r, &e);
	if (rc == 0) {
		start_stdio(r);
		rc = loop_run(r->loop);
		if (rc < 0)
			err_sys(&e, rc, "event loop");
	}
	term_restore();
	if (rc == 0)
		status = exit_status(r);
	else
		say(cfg, "%s", e.msg);
	r->closing = true; /* what is still under way comes back cancelled */
	control_close(r->control);
	machine_free(r->machine);
	machine_saved_free(r->saved);
	loop_free(r->loop);
	control_free(r->control);
	out_flush(r);
	if (cfg->report != RUN_REPORT_NONE)
		report_print(report, stderr, cfg->report == RUN_REPORT_JSON);
	fd_close(&r->sig_fd);
	if (cfg->console == RUN_CONSOLE_FILE)
		fd_close(&r->out_fd);
	free(r);
	return status;
}
