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
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "runtime/box_priv.h"

#define AGENT_NS    (120 * NS_PER_SEC) /* from start: a guest that does not come up */
#define KILL_NS	    (10 * NS_PER_SEC)  /* from SIGKILL: a guest that does not obey */
#define POWEROFF_NS (3 * NS_PER_SEC)   /* from DESTROYPOD */

/* ---- the end --------------------------------------------------------------------------------- */

static void stop_machine(struct box *b)
{
	if (!b->dead)
		machine_stop(b->machine);
	else
		loop_stop(b->loop);
}

static void close_streams(struct box *b)
{
	source_end(b->in);
	sink_end(b->out);
	sink_end(b->err);
	b->in = NULL;
	b->out = b->err = NULL;
	for (int i = 0; i < 3; i++)
		fd_close(&b->stdio[i]);
}

static void publish(struct box *b, enum state_status status)
{
	struct state *s = b->state;
	int rc;

	s->status = status;
	s->exit_status = status == STATE_STOPPED ? b->status : -1;
	rc = state_save(b->fds.state_dir, s);
	if (rc < 0)
		log_err("writing " STATE_FILE ": %s", strerror(-rc));
}

void box_maybe_end(struct box *b)
{
	int rc;

	if (b->phase != BOX_DRAINING)
		return;
	if ((b->out && !sink_is_idle(b->out)) || (b->err && !sink_is_idle(b->err)))
		return;
	b->phase = BOX_ENDING;
	close_streams(b);
	publish(b, STATE_STOPPED);
	if (b->dead || !link_is_up(b->link)) {
		stop_machine(b);
		return;
	}
	rc = box_request(b, LINK_DESTROYPOD, NULL, WANT_DESTROY, 0);
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
	source_end(b->in);
	b->in = NULL;
	box_maybe_end(b);
}

static void deadline_passed(struct loop_op *op, int res, unsigned flags)
{
	struct box *b = container_of(op, struct box, deadline.op);
	uint64_t when = b->deadline_at;

	(void)flags;
	if (res == -ECANCELED && !when)
		return;
	if (when && clock_ns() < when) { /* it was moved while it ran */
		loop_timer(b->loop, &b->deadline, when);
		return;
	}
	b->deadline_at = 0;
	switch (b->phase) {
	case BOX_GATED:
		if (!b->start_req || b->killed)
			break;
		box_refuse_start(b, 1, "the guest's agent did not answer within %u seconds",
				 (unsigned)(AGENT_NS / NS_PER_SEC));
		box_end(b, 1);
		return;
	case BOX_ENDING:
		log_warn("the guest did not power off");
		stop_machine(b);
		return;
	default:
		break;
	}
	if (!b->killed)
		return;
	log_warn("the guest did not obey SIGKILL");
	if (b->out)
		sink_discard(b->out);
	if (b->err)
		sink_discard(b->err);
	box_end(b, 128 + SIGKILL);
	box_maybe_end(b); /* it may have been draining for a reader that has stopped */
}

void box_deadline(struct box *b, uint64_t in_ns)
{
	b->deadline_at = clock_ns() + in_ns;
	if (b->deadline.op.busy)
		loop_cancel(b->loop, &b->deadline.op);
	else
		loop_timer(b->loop, &b->deadline, b->deadline_at);
}

static void machine_ended(void *ctx, enum machine_end why, int status, const char *msg)
{
	struct box *b = ctx;
	char words[256];

	(void)status;
	b->dead = true;
	report_stamp(b->report, PHASE_EXIT);
	if (b->phase == BOX_ENDING) {
		loop_stop(b->loop);
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
	if (b->phase == BOX_DRAINING)
		return; /* box_maybe_end() goes on without it */
	log_err("%s", b->why_dead);
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

/* ---- signals --------------------------------------------------------------------------------- */

/* Does not end a process that has not been told how to take it. */
static bool is_harmless(int signo)
{
	return signo == SIGCHLD || signo == SIGCONT || signo == SIGURG || signo == SIGWINCH ||
	       signo == SIGSTOP || signo == SIGTSTP || signo == SIGTTIN || signo == SIGTTOU;
}

/* A signal for the container, from kill(2) on us (no @req) or from `husk kill`. */
void box_signal(struct box *b, int signo, bool all, proxy_req_t req)
{
	char json[128 + 256];
	int rc;

	if (b->phase >= BOX_DRAINING) {
		box_answer(b, req, 1, "container not running");
		/* Whoever reads our output has stopped; a SIGKILL does not wait for them. */
		if (signo == SIGKILL && b->phase == BOX_DRAINING) {
			sink_discard(b->out);
			sink_discard(b->err);
			box_maybe_end(b);
		}
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
		box_deadline(b, KILL_NS);
	}
	(void)snprintf(json, sizeof(json),
		       "{\"container\":\"%s\",\"signal\":%d,\"allProcesses\":%s}", b->state->id,
		       signo, all ? "true" : "false");
	rc = box_request(b, LINK_KILLCONTAINER, json, WANT_KILL, req);
	if (rc < 0)
		box_answer(b, req, 1, strerror(-rc));
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
	b->report = a->report;
	b->spec = a->spec;
	b->deadline.op = (struct loop_op){.done = deadline_passed, .what = "deadline"};
	b->sig_op = (struct loop_op){.done = signals_ready, .what = "signals"};
	for (int i = 0; i < 3; i++)
		b->stdio[i] = i;
	rc = state_dup(&b->state, &a->state);
	if (rc == 0)
		rc = loop_new(&b->loop, 256, e);
	if (rc < 0) {
		err_sys(e, rc, "sandbox");
		box_free(b);
		return rc;
	}
	*ret = b;
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
	b->link = agentlink_link(b->al);
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

/* The file workers begin while the capabilities for files are there; then this thread's go. */
static int split_privileges(struct box *b, struct err *e)
{
	struct p9_pool_config pc = {.thread_init = confine_files, .thread_arg = b};
	int rc = p9_pool_new(&b->files, &pc, e);

	if (rc < 0)
		return rc;
	if (b->files_err.code)
		return err_set(e, b->files_err.code, "%s", b->files_err.msg);
	return confine_no_caps(e);
}

int box_boot(struct box *b, struct err *e)
{
	const struct sandbox_args *a = b->a;
	struct machine_config mc = {
	    .kvm_fd = b->fds.kvm,
	    .kernel_fd = a->assets.kernel_fd,
	    .kernel_name = a->assets.kernel,
	    .initrd_fd = -1,
	    .cmdline =
		"quiet console=hvc0 root=/dev/pmem0 ro rootfstype=erofs rootflags=dax=always",
	    .cpus = a->cpus,
	    .memory = a->memory,
	    .hw = MACHINE_HW_FDT,
	    .spare_slots = 6,
	    .ended = machine_ended,
	    .ctx = b,
	    .vcpu_init = confine_vcpu,
	    .before_run = confine_loop,
	    .report = a->report,
	};
	int rc;

	b->root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (b->root_fd < 0)
		return err_sys(e, -errno, "the container's root");
	rc = box_open_streams(b, e);
	if (rc == 0)
		rc = clients_new(&b->clients, b->loop, fd_take(&b->fds.listen), b->state->id,
				 &box_proxy_ops, b, e);
	if (rc == 0)
		rc = split_privileges(b, e);
	if (rc == 0)
		rc = machine_new(&b->machine, &mc, b->loop, e);
	if (rc == 0)
		rc = add_devices(b, e);
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
		publish(b, STATE_STOPPED);
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
	clients_free(b->clients);
	machine_free(b->machine);
	p9_pool_free(b->files);
	agentlink_free(b->al);
	close_streams(b);
	loop_free(b->loop);
	if (b->state)
		state_free(b->state);
	free(b->state);
	fd_close(&b->root_fd);
	free(b->wants);
	free(b);
}
