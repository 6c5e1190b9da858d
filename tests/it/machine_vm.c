/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Machines that are given up at awkward moments. Usage: machine_vm KERNEL CPUS
 *
 * KERNEL must be one that never ends by itself. The machine is freed before its start, right after
 * its start, while it runs, and after ended(); none of them may hang, and ended() comes only in the
 * last. "ok" on stdout when all of that was so.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fd.h"
#include "virtio/devices.h"
#include "vmm/machine.h"

enum moment { BEFORE_START, AFTER_START, RUNNING, ENDED, MOMENTS };

static struct loop *loop;
static bool expected;
static unsigned ends;

static void ended(void *ctx, enum machine_end why, int status, const char *msg)
{
	(void)ctx;
	(void)status;
	if (!expected || why != MACHINE_STOPPED) {
		fprintf(stderr, "ended(%d): %s\n", (int)why, msg ? msg : "");
		exit(1);
	}
	ends++;
	loop_stop(loop);
}

static void time_is_up(struct loop_op *op, int res, unsigned flags)
{
	(void)op;
	(void)res;
	(void)flags;
	loop_stop(loop);
}

static int run_for(uint64_t ns)
{
	struct loop_timer t = {.op = {.done = time_is_up, .what = "test"}};

	loop_timer(loop, &t, clock_ns() + ns);
	return loop_run(loop);
}

static int live(int kernel, unsigned cpus, enum moment until, struct err *e)
{
	struct machine_config cfg = {.kernel_fd = kernel,
				     .kernel_name = "the test's",
				     .initrd_fd = -1,
				     .cpus = cpus,
				     .memory = MACHINE_MEMORY_MIN,
				     .spare_slots = 2,
				     .ended = ended};
	struct virtio_dev *dev;
	struct machine *m = NULL;
	int rc = machine_new(&m, &cfg, loop, e);

	if (rc == 0)
		rc = rng_new(&dev, "rng0", e);
	if (rc == 0)
		rc = machine_plug(m, dev, NULL, e);
	if (rc == 0 && until > BEFORE_START)
		rc = machine_start(m, e);
	if (rc == 0 && until > AFTER_START)
		rc = run_for(50 * NS_PER_MS);
	if (rc == 0 && until == ENDED) {
		expected = true;
		machine_stop(m);
		rc = loop_run(loop);
	}
	machine_free(m);
	return rc;
}

int main(int argc, char **argv)
{
	struct err e = {0};
	int kernel, rc;

	if (argc != 3) {
		fprintf(stderr, "usage: machine_vm KERNEL CPUS\n");
		return 2;
	}
	kernel = open(argv[1], O_RDONLY | O_CLOEXEC);
	rc = loop_new(&loop, 64, &e);
	for (int until = BEFORE_START; rc == 0 && until < MOMENTS; until++)
		rc = live(kernel, (unsigned)atoi(argv[2]), (enum moment)until, &e);
	loop_free(loop);
	if (rc < 0 || ends != 1) {
		fprintf(stderr, "machine_vm: %d, %u ends: %s\n", rc, ends, e.msg);
		return 1;
	}
	puts("ok");
	return 0;
}
