/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.c: operations, timers, cancelling, work from other threads, a queue that is too small.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/loop.h"

static struct loop *l;

struct result {
	struct loop_op op;
	int res;
	unsigned cnt;
};

static void note(struct loop_op *op, int res, unsigned flags)
{
	struct result *r = container_of(op, struct result, op);

	(void)flags;
	cr_assert_not(op->busy);
	r->res = res;
	r->cnt++;
}

static void begin(unsigned entries)
{
	struct err e = {0};

	cr_assert_eq(loop_new(&l, entries, &e), 0, "%s", e.msg);
}

static void wait_for(const struct result *r)
{
	while (!r->cnt)
		cr_assert_eq(loop_step(l, true), 0);
}

#define RESULT                                                                                     \
	{                                                                                          \
		.op = {.done = note, .what = "test" }                                              \
	}

Test(loop, files)
{
	struct result w = RESULT, r = RESULT, s = RESULT, a = RESULT, v = RESULT;
	char buf[8] = "", x[2], y[3];
	struct iovec iov[2] = {{x, 2}, {y, 3}};
	int fd = memfd_create("t", MFD_CLOEXEC);

	begin(8);
	loop_write(l, &w.op, fd, "hello", 5, 0);
	cr_assert(w.op.busy);
	wait_for(&w);
	cr_assert_eq(w.res, 5);
	loop_read(l, &r.op, fd, buf, 8, 1);
	wait_for(&r);
	cr_assert_eq(r.res, 4);
	cr_assert_str_eq(buf, "ello");
	loop_readv(l, &v.op, fd, iov, 2, 0);
	wait_for(&v);
	cr_assert_eq(v.res, 5);
	cr_assert_eq(memcmp(y, "llo", 3), 0);
	v.cnt = 0;
	loop_writev(l, &v.op, fd, iov, 2, 5);
	wait_for(&v);
	cr_assert_eq(v.res, 5);
	loop_fsync(l, &s.op, fd, true);
	wait_for(&s);
	cr_assert_eq(s.res, 0);
	loop_fallocate(l, &a.op, fd, 0, 0, 4096);
	wait_for(&a);
	cr_assert_eq(a.res, 0);
	cr_assert_eq(lseek(fd, 0, SEEK_END), 4096);
	a.cnt = 0;
	loop_read(l, &a.op, -1, buf, 1, 0);
	wait_for(&a);
	cr_assert_eq(a.res, -EBADF);
	loop_free(l);
}

Test(loop, sockets_and_polls)
{
	struct result p = RESULT, s = RESULT, r = RESULT;
	char buf[8];
	struct iovec out = {(void *)(uintptr_t) "hi", 2}, in = {buf, 8};
	struct msghdr mo = {.msg_iov = &out, .msg_iovlen = 1},
		      mi = {.msg_iov = &in, .msg_iovlen = 1};
	int sv[2];

	begin(8);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	loop_poll(l, &p.op, sv[1], POLLIN);
	cr_assert_eq(loop_step(l, false), 0);
	cr_assert_eq(p.cnt, 0);
	loop_sendmsg(l, &s.op, sv[0], &mo, MSG_NOSIGNAL);
	loop_recvmsg(l, &r.op, sv[1], &mi, 0);
	wait_for(&p);
	wait_for(&s);
	wait_for(&r);
	cr_assert(p.res & POLLIN);
	cr_assert_eq(s.res, 2);
	cr_assert_eq(r.res, 2);
	loop_free(l);
}

struct tick {
	struct loop_timer t;
	int res;
	unsigned at; /* its place in the order of arrival */
};
static unsigned ticks;

static void tick_done(struct loop_op *op, int res, unsigned flags)
{
	struct tick *t = container_of(op, struct tick, t.op);

	(void)flags;
	t->res = res;
	t->at = ++ticks;
}

Test(loop, timers_come_in_time_and_in_order)
{
	struct tick a = {.t = {.op = {.done = tick_done}}}, b = a, past = a;
	uint64_t t0 = clock_ns();

	begin(8);
	loop_timer(l, &a.t, t0 + 40 * NS_PER_MS);
	loop_timer(l, &b.t, t0 + 20 * NS_PER_MS);
	loop_timer(l, &past.t, 0);
	while (ticks < 3)
		cr_assert_eq(loop_step(l, true), 0);
	cr_assert_geq(clock_ns() - t0, 40 * NS_PER_MS);
	cr_assert_eq(past.at, 1);
	cr_assert_eq(b.at, 2);
	cr_assert_eq(a.at, 3);
	cr_assert_eq(a.res, -ETIME);
	/* Again, and called off. */
	loop_timer(l, &a.t, clock_ns() + 1000 * NS_PER_SEC);
	cr_assert_eq(loop_step(l, false), 0);
	loop_cancel(l, &a.t.op);
	while (ticks < 4)
		cr_assert_eq(loop_step(l, true), 0);
	cr_assert_eq(a.res, -ECANCELED);
	loop_cancel(l, &a.t.op); /* not busy: nothing */
	loop_free(l);
}

Test(loop, cancels_a_read_that_waits)
{
	struct result r = RESULT;
	char c;
	int p[2];

	begin(8);
	cr_assert_eq(pipe2(p, O_CLOEXEC), 0);
	loop_read(l, &r.op, p[0], &c, 1, LOOP_NO_OFF);
	loop_cancel(l, &r.op); /* in the same batch */
	wait_for(&r);
	cr_assert_eq(r.res, -ECANCELED);
	r.cnt = 0;
	loop_read(l, &r.op, p[0], &c, 1, LOOP_NO_OFF);
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(loop_step(l, false), 0);
	loop_cancel(l, &r.op);
	loop_cancel(l, &r.op); /* twice is once */
	wait_for(&r);
	cr_assert_eq(r.res, -ECANCELED);
	cr_assert_eq(r.cnt, 1);
	loop_free(l);
}

Test(loop, free_waits_for_what_the_kernel_still_has)
{
	struct result r[40];
	char buf[40];
	int p[2];

	begin(8);
	cr_assert_eq(pipe2(p, O_CLOEXEC), 0);
	for (unsigned i = 0; i < 40; i++) {
		r[i] = (struct result)RESULT;
		loop_read(l, &r[i].op, p[0], &buf[i], 1, LOOP_NO_OFF);
	}
	loop_free(l);
	for (unsigned i = 0; i < 40; i++) {
		cr_assert_eq(r[i].cnt, 1);
		cr_assert_eq(r[i].res, -ECANCELED);
	}
}

Test(loop, more_submissions_than_the_queue_has_entries)
{
	static struct result r[1000];
	static char buf[1000];
	int fd = memfd_create("t", MFD_CLOEXEC);
	unsigned done = 0;

	cr_assert_eq(ftruncate(fd, 1000), 0);
	begin(4);
	for (unsigned i = 0; i < 1000; i++) {
		r[i] = (struct result)RESULT;
		loop_read(l, &r[i].op, fd, &buf[i], 1, i);
	}
	while (done < 1000) {
		cr_assert_eq(loop_step(l, true), 0);
		done = 0;
		for (unsigned i = 0; i < 1000; i++)
			done += r[i].cnt;
	}
	for (unsigned i = 0; i < 1000; i++)
		cr_assert(r[i].cnt == 1 && r[i].res == 1);
	loop_free(l);
}

/* ---- other threads --------------------------------------------------------------------------- */

struct job {
	struct loop_work w;
	unsigned runs;
	bool again;
};

static void job_run(struct loop_work *w)
{
	struct job *j = container_of(w, struct job, w);

	cr_assert(loop_is_here(l));
	__atomic_add_fetch(&j->runs, 1, __ATOMIC_SEQ_CST);
	if (j->again)
		loop_post(l, w);
}

static void bump(void *arg)
{
	cr_assert(loop_is_here(l));
	(void)__atomic_add_fetch((unsigned *)arg, 1, __ATOMIC_SEQ_CST);
}

static void stop_here(void *arg)
{
	(void)arg;
	loop_stop(l);
}

static unsigned calls;

static void *caller(void *arg)
{
	struct job *j = arg;

	cr_assert_not(loop_is_here(l));
	for (unsigned i = 0; i < 2000; i++) {
		unsigned was = __atomic_load_n(&calls, __ATOMIC_SEQ_CST);

		loop_post(l, &j->w);
		loop_call(l, bump, &calls);
		cr_assert_gt(__atomic_load_n(&calls, __ATOMIC_SEQ_CST), was);
	}
	return NULL;
}

static void *ender(void *arg)
{
	pthread_t *t = arg;

	(void)pthread_join(t[0], NULL);
	(void)pthread_join(t[1], NULL);
	loop_call(l, stop_here, NULL);
	return NULL;
}

Test(loop, calls_and_posts_from_two_threads)
{
	struct job j[2] = {{.w = {.fn = job_run}}, {.w = {.fn = job_run}}};
	pthread_t t[2], e;

	begin(8);
	for (unsigned i = 0; i < 2; i++)
		cr_assert_eq(pthread_create(&t[i], NULL, caller, &j[i]), 0);
	cr_assert_eq(pthread_create(&e, NULL, ender, t), 0);
	cr_assert_eq(loop_run(l), 0);
	(void)pthread_join(e, NULL);
	cr_assert_eq(calls, 4000);
	/* A call runs behind the post before it, so none was lost. */
	cr_assert_eq(j[0].runs, 2000);
	cr_assert_eq(j[1].runs, 2000);
	loop_free(l);
}

Test(loop, a_call_on_the_loop_runs_at_once)
{
	begin(8);
	loop_call(l, bump, &calls);
	cr_assert_eq(calls, 1);
	loop_free(l);
}

Test(loop, a_work_that_posts_itself_lets_others_run)
{
	struct job j = {.w = {.fn = job_run}, .again = true};
	struct result r = RESULT;
	int fd = memfd_create("t", MFD_CLOEXEC);
	unsigned was;

	begin(8);
	loop_post(l, &j.w);
	loop_write(l, &r.op, fd, "x", 1, 0);
	wait_for(&r);
	while (j.runs < 10)
		cr_assert_eq(loop_step(l, true), 0);
	loop_unpost(l, &j.w);
	cr_assert_not(j.w.queued);
	was = j.runs;
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(loop_step(l, false), 0);
	cr_assert_eq(j.runs, was);
	loop_free(l);
}

static struct job victim = {.w = {.fn = job_run}};

static void unpost_victim(struct loop_work *w)
{
	(void)w;
	loop_unpost(l, &victim.w);
}

Test(loop, a_work_can_take_back_the_next_one)
{
	struct loop_work killer = {.fn = unpost_victim};

	begin(8);
	loop_post(l, &killer);
	loop_post(l, &killer); /* queued once */
	loop_post(l, &victim.w);
	cr_assert_eq(loop_step(l, true), 0);
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(loop_step(l, false), 0);
	cr_assert_eq(victim.runs, 0);
	loop_free(l);
}

/* ---- fairness -------------------------------------------------------------------------------- */

static int zero_fd;
static char sink_buf[64];
static unsigned reads;

static void read_again(struct loop_op *op, int res, unsigned flags)
{
	(void)flags;
	if (res <= 0)
		return;
	reads++;
	loop_read(l, op, zero_fd, sink_buf, sizeof(sink_buf), 0);
}

/* Operations that complete at once and are asked for again in done(): a disk that is all cache. */
Test(loop, busy_operations_do_not_keep_a_timer_waiting, .timeout = 20)
{
	struct tick t = {.t = {.op = {.done = tick_done}}};
	struct loop_op op[8];

	zero_fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	cr_assert_geq(zero_fd, 0);
	begin(2);
	for (unsigned i = 0; i < 8; i++) {
		op[i] = (struct loop_op){.done = read_again};
		loop_read(l, &op[i], zero_fd, sink_buf, sizeof(sink_buf), 0);
	}
	loop_timer(l, &t.t, clock_ns() + 20 * NS_PER_MS);
	while (!ticks)
		cr_assert_eq(loop_step(l, true), 0);
	cr_assert_eq(t.res, -ETIME);
	cr_assert_gt(reads, 8);
	loop_free(l);
}
