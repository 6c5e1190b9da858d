/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sandbox process on its loop. See box.h.
 *
 *              agent up + start            ACK of NEWCONTAINER          EXIT
 *   GATED ------------------> STARTING ------------------> RUNNING -----------> DRAINING
 *     |  kill, VM died            | ERROR, VM died                                 | all written
 *     +---------------------------+------------------------------------------------v
 *                                                                              ENDING -> gone
 *
 * DRAINING waits until the last byte is in the engine's descriptors. ENDING: descriptors closed,
 * status published, then the guest is asked to power off, and stopped if it does not. Never another
 * order.
 *
 * A VM that dies behind the closed gate leaves the process waiting: start is to tell the reason.
 */
#include "runtime/box.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "runtime/box_priv.h"

#define OTHER_SLOTS 3u	/* the root, a balloon, memory that is added */
#define SPARE_SLOTS 7u	/* these, and NICs that come later */
#define NIC_SLOTS   12u /* and for those that are there at create, up to this */
/*
 * Engines give a container 10 seconds from SIGKILL, whoever has stopped to read: all that can follow
 * one on the other stays below that.
 */
#define READERS_NS (3 * NS_PER_SEC) /* from SIGKILL: for output that nobody reads */
#define KILL_NS                                                                                    \
	(6 * NS_PER_SEC) /* from SIGKILL: a guest that does not obey; it gets no POWEROFF_NS */
#define POWEROFF_NS (3 * NS_PER_SEC) /* from DESTROYPOD */
#define EXECS_NS    (3 * NS_PER_SEC) /* for execs, from the first process's end and from the VM's */

/* ---- the end --------------------------------------------------------------------------------- */

/* The VM is gone. What execs have said is written as far as somebody reads it. */
static void finish(struct box *b)
{
	box_give_up(b, "the VM has ended");
	box_execs_end(b, "container not running");
	if (b->procs.cnt <= 1 || b->execs_late)
		loop_stop(b->loop);
	else
		box_deadline(b, EXECS_NS);
}

static void stop_machine(struct box *b)
{
	if (!b->dead)
		machine_stop(b->machine);
	else
		finish(b);
}

void box_publish(struct box *b, enum state_status status)
{
	struct state *s = b->state;
	int rc;

	s->status = status;
	s->exit_status = status == STATE_STOPPED ? b->status : -1;
	rc = state_save(b->fds.state_dir, s);
	if (rc < 0)
		log_err("writing " STATE_FILE ": %s", strerror(-rc));
}

static void power_off_follows(struct box *b, uint64_t arg, const struct box_reply *r)
{
	(void)b;
	(void)arg;
	(void)r;
}

void box_maybe_end(struct box *b)
{
	int rc;

	if (b->phase == BOX_ENDING && b->dead && b->procs.cnt <= 1)
		loop_stop(b->loop);
	if (b->phase != BOX_DRAINING || !b->init->over)
		return;
	/* With the container's first process the others end: theirs is told before its own. */
	if (!b->execs_late && !b->dead && link_is_up(b->link) && box_execs_alive(b)) {
		if (!b->deadline_at)
			box_deadline(b, EXECS_NS);
		return;
	}
	b->phase = BOX_ENDING;
	box_publish(b, STATE_STOPPED);
	if (b->dead || b->deaf || !link_is_up(b->link)) {
		stop_machine(b);
		return;
	}
	rc = box_request(b, LINK_DESTROYPOD, NULL, power_off_follows, 0);
	if (rc < 0)
		stop_machine(b);
	else
		box_deadline(b, POWEROFF_NS);
}

void box_end(struct box *b, int status)
{
	if (b->phase >= BOX_DRAINING)
		return;
	b->phase = BOX_DRAINING;
	b->status = status;
	box_pause_break(b); /* the guest has to power off */
	if (!b->killed)
		b->deadline_at = 0;
	proc_end(b->init, status);
}

/* The guest holds an EXIT back while output before it has no reader: whoever stands still is given up first. */
static bool give_readers_up(struct box *b)
{
	if (!b->killed || b->unread || b->phase >= BOX_ENDING)
		return false;
	b->unread = true;
	proc_discard(b->init);
	box_execs_discard(b);
	box_deadline(b, KILL_NS - READERS_NS);
	return true;
}

static void deadline_passed(struct loop_op *op, int res, unsigned flags)
{
	struct box *b = container_of(op, struct box, deadline.op);
	uint64_t when = b->deadline_at;
	char text[96];

	(void)flags;
	(void)res;
	if (!when) /* it was taken back */
		return;
	if (when && clock_ns() < when) { /* it was moved while it ran */
		loop_timer(b->loop, &b->deadline, when);
		return;
	}
	b->deadline_at = 0;
	if (give_readers_up(b))
		return;
	switch (b->phase) {
	case BOX_GATED:
		if (b->killed)
			break;
		(void)snprintf(text, sizeof(text),
			       "the guest's agent did not answer within %d seconds", BOX_AGENT_S);
		box_prepare_failed(b, text);
		return;
	case BOX_STARTING:
		if (b->killed)
			break;
		box_refuse_start(b, 1, "the container's network was not ready within %d seconds",
				 BOX_NET_S);
		box_end(b, 1);
		return;
	case BOX_DRAINING:
		if (!b->init->over)
			break;
		b->execs_late = true;
		box_maybe_end(b);
		return;
	case BOX_ENDING:
		if (!b->dead)
			log_warn("the guest did not power off");
		else
			b->execs_late = true;
		stop_machine(b);
		return;
	default:
		break;
	}
	if (!b->killed)
		return;
	log_warn("the guest did not obey SIGKILL");
	b->deaf = b->execs_late = true;
	box_end(b, 128 + SIGKILL);
}

void box_deadline(struct box *b, uint64_t in_ns)
{
	b->deadline_at = clock_ns() + in_ns;
	if (b->deadline.op.busy)
		loop_cancel(b->loop, &b->deadline.op);
	else
		loop_timer(b->loop, &b->deadline, b->deadline_at);
}

static void end_without_vm(struct box *b)
{
	if (b->killed) {
		box_end(b, 128 + SIGKILL);
		return;
	}
	if (b->phase == BOX_GATED && !b->start_req)
		return;
	if (b->start_req)
		box_refuse_start(b, 1, "%s", b->why_dead);
	box_end(b, b->phase == BOX_RUNNING ? 255 : 1);
}

static void machine_ended(void *ctx, enum machine_end why, int status, const char *msg)
{
	struct box *b = ctx;
	char words[256];

	(void)status;
	b->dead = true;
	report_stamp(b->report, PHASE_EXIT);
	if (b->phase == BOX_ENDING) {
		b->deadline_at = 0;
		finish(b);
		return;
	}
	agentlink_last_words(b->al, words, sizeof(words));
	if (!b->why_dead[0])
		(void)snprintf(b->why_dead, sizeof(b->why_dead), "the VM ended: %s%s%s%s%s",
			       msg			     ? msg
			       : why == MACHINE_PANIC	     ? "the guest kernel panicked"
			       : why == MACHINE_TRIPLE_FAULT ? "the guest crashed (triple fault)"
			       : why == MACHINE_POWEROFF     ? "the guest powered off"
			       : why == MACHINE_RESET	     ? "the guest asked for a reset"
							     : "stopped",
			       words[0] ? " (its last words: " : "", words, words[0] ? ")" : "",
			       why == MACHINE_FAILED
				   ? "; 'vmm check' tells whether this host's KVM is whole"
				   : "");
	if (b->phase != BOX_DRAINING) { /* else box_maybe_end() goes on without it */
		log_err("%s", b->why_dead);
		end_without_vm(b);
	}
	box_give_up(b, b->why_dead);
	box_execs_end(b, b->why_dead);
}

/* ---- signals --------------------------------------------------------------------------------- */

/* Does not end a process that has not been told how to take it. */
static bool is_harmless(int signo)
{
	return signo == SIGCHLD || signo == SIGCONT || signo == SIGURG || signo == SIGWINCH ||
	       signo == SIGSTOP || signo == SIGTSTP || signo == SIGTTIN || signo == SIGTTOU;
}

/* The size of the host's terminal is the container's. False: it has none, or has it already. */
bool box_resize(struct box *b)
{
	struct winsize ws;

	if (b->tty < 0 || b->phase != BOX_RUNNING || ioctl(b->tty, TIOCGWINSZ, &ws) < 0 ||
	    !ws.ws_row || !ws.ws_col || (ws.ws_row == b->rows && ws.ws_col == b->cols))
		return false;
	b->rows = ws.ws_row;
	b->cols = ws.ws_col;
	box_winsize(b, b->init, b->rows, b->cols, 0);
	return true;
}

/* A signal for the container, from kill(2) on us (no @req) or from `husk kill`. */
void box_signal(struct box *b, int signo, bool all, proxy_req_t req)
{
	char json[128 + 256];

	if (b->phase >= BOX_DRAINING) {
		box_answer(b, req, 1, "container not running");
		/* Whoever reads our output has stopped; a SIGKILL does not wait for them. */
		if (signo == SIGKILL && b->phase == BOX_DRAINING) {
			proc_discard(b->init);
			box_execs_discard(b);
		}
		return;
	}
	if (signo == SIGWINCH && box_resize(b)) {
		box_answer(b, req, 0, NULL);
		return;
	}
	if (b->phase == BOX_GATED) {
		box_answer(b, req, 0, NULL);
		if (is_harmless(signo))
			return;
		if (b->start_req)
			box_refuse_start(b, 128 + signo, "the container was killed by signal %d",
					 signo);
		box_end(b, 128 + signo);
		return;
	}
	if (signo == SIGKILL && !b->killed) {
		b->killed = true;
		box_deadline(b, READERS_NS);
	}
	if (signo == SIGKILL)
		box_pause_break(b); /* it reaches frozen processes, too */
	(void)snprintf(json, sizeof(json),
		       "{\"container\":\"%s\",\"signal\":%d,\"allProcesses\":%s}", b->state->id,
		       signo, all ? "true" : "false");
	box_relay(b, LINK_KILLCONTAINER, json, req);
}

static void signals_ready(struct loop_op *op, int res, unsigned flags)
{
	struct box *b = container_of(op, struct box, sig_op);
	ssize_t n = res == (int)sizeof(b->sig) ? res : 0;

	(void)flags;
	if (res == -ECANCELED)
		return;
	if (n && b->sig.ssi_signo != SIGCHLD)
		box_signal(b, (int)b->sig.ssi_signo, false, 0);
	loop_read(b->loop, &b->sig_op, b->fds.signals, &b->sig, sizeof(b->sig), LOOP_NO_OFF);
}

/* ---- making ---------------------------------------------------------------------------------- */

int box_new(struct box **ret, const struct sandbox_args *a, const struct box_fds *fds,
	    struct err *e)
{
	struct box *b = calloc(1, sizeof(*b));
	int rc;

	if (!b)
		return err_set(e, -ENOMEM, "sandbox: out of memory");
	b->a = a;
	b->fds = *fds;
	for (unsigned i = 0; i < FORWARD_FDS; i++)
		b->forwards.listener[i].fd = fds->forward[i];
	b->report = a->report;
	b->spec = a->spec;
	b->deadline.op = (struct loop_op){.done = deadline_passed, .what = "deadline"};
	b->after_start.fn = box_after_start;
	b->sig_op = (struct loop_op){.done = signals_ready, .what = "signals"};
	box_pause_init(b);
	for (int i = 0; i < 3; i++)
		b->stdio[i] = i;
	b->tty = a->tty_fd;
	(void)uname(&b->host); /* now: the filter of the loop does not have it */
	rc = state_dup(&b->state, &a->state);
	if (rc == 0)
		rc = loop_new(&b->loop, 256, e);
	if (rc == 0)
		box_wants_init(b);
	if (rc < 0) {
		err_sys(e, rc, "sandbox");
		box_free(b);
		return rc;
	}
	*ret = b;
	return 0;
}

/* Made while there are rights to look at them, plugged when the gate opens. */
static int make_disks(struct box *b, struct err *e)
{
	for (unsigned i = 0; i < b->a->disks.cnt; i++) {
		const struct disk *d = &b->a->disks.v[i];
		struct blk_config cfg = {.fd = d->fd, .readonly = d->readonly};
		char name[16];
		int rc;

		(void)snprintf(name, sizeof(name), "blk%u", i);
		rc = blk_new(&b->disk[i], name, &cfg, e);
		if (rc < 0)
			return err_wrap(e, "config.json: linux.devices: '%s'", d->path);
	}
	return 0;
}

static int add_devices(struct box *b, struct err *e)
{
	struct virtio_dev *rng;
	int rc;

	rc = machine_pmem(b->machine, b->a->assets.image_fd, b->a->assets.image, true, e);
	if (rc == 0)
		rc = agentlink_new(&b->al, b->machine, b->loop, &box_link_ops, b, e);
	if (rc < 0)
		return rc;
	b->procs.link = b->wants.link = b->link = agentlink_link(b->al);
	shim_in_init(&b->shims, b->link, clients_proxy(b->clients));
	rc = rng_new(&rng, "rng0", e);
	if (rc == 0)
		rc = machine_plug(b->machine, rng, NULL, e);
	return rc;
}

/* ---- confinement; see confine.h
 * ---------------------------------------------------------------------------- */

/* First thing in each file worker; those after the first have inherited what it did. */
static void confine_files(void *arg)
{
	struct box *b = arg;
	struct err err = {0};

	/* Only the first can fail, and box_boot() waits for it. */
	if (confine_thread(CONFINE_FILES, &err) < 0)
		b->files_err = err;
}

static int confine_vcpu(void *ctx, struct err *e)
{
	(void)ctx;
	return confine_thread(CONFINE_VCPU, e);
}

static int confine_loop(void *ctx, struct err *e)
{
	(void)ctx;
	return confine_thread(CONFINE_LOOP, e);
}

/*
 * The network watcher begins while its capability is there, the file workers while the ones for
 * files are; then this thread's go.
 */
static int split_privileges(struct box *b, struct err *e)
{
	struct p9_pool_config pc = {.thread_init = confine_files, .thread_arg = b};
	int rc = box_net_new(b, e);

	if (rc == 0)
		rc = confine_no_net(e);
	if (rc == 0)
		rc = p9_pool_new(&b->files, &pc, e);
	if (rc < 0)
		return rc;
	if (b->files_err.code)
		return err_set(e, b->files_err.code, "%s", b->files_err.msg);
	return confine_no_caps(e);
}

/* The guest kernel's, before what the configuration appends. */
static const char kernel_words[] =
    "quiet console=hvc0 root=/dev/pmem0 ro rootfstype=erofs rootflags=dax=always";

int box_boot(struct box *b, struct err *e)
{
	const struct sandbox_args *a = b->a;
	struct machine_config mc = {
	    .kvm_fd = b->fds.kvm,
	    .kernel_fd = a->assets.kernel_fd,
	    .kernel_name = a->assets.kernel,
	    .initrd_fd = a->assets.initrd_fd,
	    .initrd_name = json_str(a->spec->root, "vm.kernel.initrd", ""),
	    .cpus = a->size.cpus,
	    .memory = a->size.memory,
	    .hw = MACHINE_HW_FDT,
	    .spare_slots = SPARE_SLOTS + a->disks.cnt,
	    .ended = machine_ended,
	    .memory_changed = box_memory_changed,
	    .slot_free = box_net_slot_free,
	    .ctx = b,
	    .vcpu_init = confine_vcpu,
	    .before_run = confine_loop,
	    .report = a->report,
	};
	auto_free char *cmdline = NULL;
	int rc;

	if (asprintf(&cmdline, "%s%s%s", kernel_words, *a->kernel_params ? " " : "",
		     a->kernel_params) < 0) {
		cmdline = NULL;
		return err_set(e, -ENOMEM, "sandbox: out of memory");
	}
	mc.cmdline = cmdline;
	b->root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (b->root_fd < 0)
		return err_sys(e, -errno, "the container's root");
	rc = box_open_streams(b, e);
	if (rc == 0)
		rc = clients_new(&b->clients, b->loop, fd_take(&b->fds.listen), b->state->id,
				 &box_proxy_ops, b, e);
	if (rc == 0)
		clients_on_gone(b->clients, box_client_gone, b);
	if (rc == 0)
		rc = split_privileges(b, e);
	if (rc == 0)
		mc.spare_slots += MIN(box_net_count(b), NIC_SLOTS);
	b->nics_max = mc.spare_slots - a->disks.cnt - OTHER_SLOTS;
	if (rc == 0)
		rc = machine_new(&b->machine, &mc, b->loop, e);
	if (rc == 0)
		rc = add_devices(b, e);
	if (rc == 0)
		rc = make_disks(b, e);
	if (rc == 0)
		rc = machine_start(b->machine, e);
	if (rc < 0)
		return rc;
	b->started_vm = true;
	fd_close(&b->fds.kvm);
	return 0;
}

int box_run(struct box *b)
{
	int rc;

	loop_read(b->loop, &b->sig_op, b->fds.signals, &b->sig, sizeof(b->sig), LOOP_NO_OFF);
	rc = loop_run(b->loop);
	if (rc < 0) {
		log_err("event loop: %s", strerror(-rc));
		b->status = 255;
		box_publish(b, STATE_STOPPED);
	}
	return b->status;
}

void box_free(struct box *b)
{
	if (!b)
		return;
	/* vCPU threads wait for the loop in places: it runs until the machine has ended. */
	if (b->started_vm && !b->dead) {
		b->phase = BOX_ENDING;
		machine_stop(b->machine);
		while (!b->dead && loop_step(b->loop, true) == 0)
			;
	}
	shim_in_end(&b->shims);
	forwards_end(&b->forwards);
	clients_free(b->clients);
	for (unsigned i = 0; i < DISKS_MAX; i++)
		if (b->disk[i])
			virtio_free(b->disk[i]);
	box_net_free(b); /* before the taps go with the machine */
	machine_free(b->machine);
	p9_pool_free(b->files);
	procs_free(&b->procs);
	agentlink_free(b->al);
	wants_free(&b->wants);
	for (int i = 0; i < 3; i++)
		fd_close(&b->stdio[i]);
	loop_free(b->loop);
	if (b->state)
		state_free(b->state);
	free(b->state);
	fd_close(&b->root_fd);
	fd_close(&b->tty);
	fd_close(&b->fds.proc);
	json_put_ptr(&b->update.resources);
	while (b->later_cnt)
		json_object_put(b->later[--b->later_cnt].o);
	free(b);
}
