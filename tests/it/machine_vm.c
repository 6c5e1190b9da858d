/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Machines that are given up at awkward moments, and paused. Usage: machine_vm KERNEL CPUS
 *
 * KERNEL is tests/guest/count.S. The machine is freed before its start, right after its start, while
 * it runs, while it is paused, and after ended(); none of them may hang, and ended() comes only in
 * the last. "ok" on stdout when all of that was so.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/fd.h"
#include "virtio/devices.h"
#include "vmm/machine.h"

#define COUNTER	 0x400000u
#define ROUNDS	 100
#define PATIENCE (20 * NS_PER_SEC) /* emulation is slow */

enum moment { BEFORE_START, AFTER_START, RUNNING, PAUSED, STOPPED_PAUSED, ENDED, MOMENTS };

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

/* ---- pausing ---------------------------------------------------------------------------------- */

/* The guest's writes to the UART wait as long as this is held. */
static pthread_mutex_t hold = PTHREAD_MUTEX_INITIALIZER;

static void serial_out(void *ctx, const void *buf, size_t len)
{
	(void)ctx;
	(void)buf;
	(void)len;
	(void)pthread_mutex_lock(&hold);
	(void)pthread_mutex_unlock(&hold);
}

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "line %d: not so: %s\n", __LINE__, #cond);                 \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

static uint32_t counter(struct machine *m)
{
	uint32_t v = 0;

	CHECK(gmem_read(machine_gmem(m), COUNTER, &v, sizeof(v)) == 0);
	return v;
}

static bool moves(struct machine *m)
{
	uint64_t until = clock_ns() + PATIENCE;
	uint32_t was = counter(m);

	while (counter(m) == was && clock_ns() < until)
		CHECK(run_for(NS_PER_MS) == 0);
	return counter(m) != was;
}

static void answered(void *ctx, int rc)
{
	*(int *)ctx = rc;
	loop_stop(loop);
}

static int pause_for(struct machine *m, uint64_t timeout)
{
	int answer = 1, rc = machine_pause(m, timeout, answered, &answer);

	if (rc < 0)
		return rc;
	CHECK(answer == 1); /* not from inside */
	CHECK(loop_run(loop) == 0);
	return answer;
}

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

static void check_rounds(struct machine *m)
{
	for (int i = 0; i < ROUNDS; i++) {
		uint32_t was;

		CHECK(pause_for(m, PATIENCE) == 0);
		CHECK(machine_is_paused(m));
		was = counter(m);
		CHECK(run_for(i ? NS_PER_MS : 100 * NS_PER_MS) == 0);
		CHECK(counter(m) == was);
		machine_resume(m);
		CHECK(!machine_is_paused(m));
		/* Not each time: the next pause may meet threads that have not left this one. */
		CHECK(i % 4 || moves(m));
	}
	CHECK(moves(m));
}

static void check_answers(struct machine *m)
{
	int first = 1, second = 1;
	uint64_t used;

	CHECK(machine_pause(m, PATIENCE, answered, &first) == 0);
	CHECK(machine_pause(m, PATIENCE, answered, &second) == -EBUSY);
	machine_resume(m);
	CHECK(first == -ECANCELED && second == 1);
	CHECK(loop_step(loop, false) == 0);
	CHECK(!machine_is_paused(m) && moves(m));

	CHECK(pause_for(m, PATIENCE) == 0);
	CHECK(pause_for(m, PATIENCE) == 0); /* again */
	used = cpu_ns();
	CHECK(run_for(200 * NS_PER_MS) == 0);
	CHECK(cpu_ns() - used < 100 * NS_PER_MS);
	machine_resume(m);
	machine_resume(m);
	CHECK(moves(m));
}

/* A vCPU that cannot come: the guest goes on, and a later pause is fine. */
static void check_timeout(struct machine *m)
{
	uint32_t was;

	(void)pthread_mutex_lock(&hold);
	do {
		was = counter(m);
		CHECK(run_for(50 * NS_PER_MS) == 0);
	} while (counter(m) != was);
	CHECK((was & 0xffff) == 0);
	CHECK(pause_for(m, 50 * NS_PER_MS) == -ETIMEDOUT);
	CHECK(!machine_is_paused(m));
	(void)pthread_mutex_unlock(&hold);
	CHECK(moves(m));
	CHECK(pause_for(m, PATIENCE) == 0);
}

static void check_pauses(struct machine *m)
{
	CHECK(moves(m));
	check_rounds(m);
	check_answers(m);
	check_timeout(m);
}

/* ---- ends ------------------------------------------------------------------------------------- */

static void never(void *ctx, int rc)
{
	*(int *)ctx = rc;
}

/* A pause that is on its way when the machine ends hears of it, before ended(). */
static void pause_late(struct machine *m, int *ret)
{
	machine_resume(m);
	CHECK(moves(m));
	(void)pthread_mutex_lock(&hold);
	CHECK(machine_pause(m, PATIENCE, never, ret) == 0);
	machine_stop(m);
	CHECK(machine_pause(m, PATIENCE, never, ret) == -ESRCH);
	(void)pthread_mutex_unlock(&hold);
}

static int live(int kernel, unsigned cpus, enum moment until, struct err *e)
{
	struct machine_config cfg = {.kernel_fd = kernel,
				     .kernel_name = "the test's",
				     .initrd_fd = -1,
				     .cpus = cpus,
				     .memory = MACHINE_MEMORY_MIN,
				     .spare_slots = 2,
				     .serial = true,
				     .serial_out = serial_out,
				     .ended = ended};
	struct virtio_dev *dev;
	struct machine *m = NULL;
	int late = 1;
	int rc = machine_new(&m, &cfg, loop, e);

	if (rc == 0)
		rc = rng_new(&dev, "rng0", e);
	if (rc == 0)
		rc = machine_plug(m, dev, NULL, e);
	if (rc == 0 && until > BEFORE_START)
		rc = machine_start(m, e);
	if (rc == 0 && until > AFTER_START)
		rc = run_for(50 * NS_PER_MS);
	if (rc == 0 && until >= PAUSED)
		check_pauses(m);
	if (rc == 0 && until == STOPPED_PAUSED)
		machine_stop(m);
	if (rc == 0 && until == ENDED) {
		expected = true;
		pause_late(m, &late);
		rc = loop_run(loop);
		CHECK(late == -ECANCELED);
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
