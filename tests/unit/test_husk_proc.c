/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process in the sandbox process: the order of its end (last byte, descriptors closed, told),
 * readers that stall or go, an exit before the acknowledgement, two processes side by side.
 */
#include "link_pair.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "base/fd.h"
#include "runtime/proc.h"

static struct loop *l;
static int proc_fd = -1;
static struct procs all;
static unsigned overs;
static int last_status;
static uint64_t last_base;
static bool closed_first; /* the reader saw the end of file when over() came */
static int watched = -1;

static void h_up(void *ctx, const char *json, size_t len)
{
	(void)ctx;
	(void)json;
	(void)len;
}

static void h_data(void *ctx, uint64_t stream, const void *buf, size_t len)
{
	(void)ctx;
	if (!procs_data(&all, stream, buf, len))
		link_consumed(all.link, stream, len);
}

static void h_eof(void *ctx, uint64_t stream)
{
	(void)ctx;
	(void)procs_eof(&all, stream);
}

static void h_closed(void *ctx, uint64_t stream)
{
	(void)ctx;
	(void)procs_closed(&all, stream);
}

static void h_writable(void *ctx, uint64_t stream)
{
	(void)ctx;
	(void)procs_writable(&all, stream);
}

static void h_exited(void *ctx, uint64_t stream, uint32_t status)
{
	(void)ctx;
	(void)procs_exited(&all, stream, status);
}

static const struct link_ops host_ops = {.up = h_up,
					 .data = h_data,
					 .eof = h_eof,
					 .closed = h_closed,
					 .writable = h_writable,
					 .exited = h_exited,
					 .broken = on_broken};

static void over(void *ctx, struct proc *p)
{
	char c;

	(void)ctx;
	overs++;
	last_status = p->status;
	last_base = p->base;
	closed_first = watched >= 0 && read(watched, &c, 1) == 0;
	proc_free(p);
}

static void flush(void *ctx)
{
	(void)ctx;
}

static const struct procs_ops procs_ops = {.over = over, .flush = flush};

static void setup(void)
{
	struct err e = {0};

	(void)signal(SIGPIPE, SIG_IGN);
	cr_assert_eq(loop_new(&l, 16, &e), 0, "%s", e.msg);
	proc_fd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert(proc_fd >= 0);
	begin();
	link_free(host.l);
	host.l = link_new(LINK_HOST, &host_ops, &host);
	procs_init(&all, l, proc_fd, &procs_ops, NULL);
	all.link = host.l;
	cr_assert_eq(link_announce(agent.l, READY), 0);
	pump(0);
}

static void teardown(void)
{
	procs_free(&all);
	cr_expect_eq(all.cnt, 0);
	finish();
	loop_free(l);
	fd_close(&proc_fd);
	fd_close(&watched);
}

TestSuite(proc, .init = setup, .fini = teardown, .timeout = 30);

/* Our ends of a process's descriptors. */
struct ends {
	int in, out, err;
};

static struct proc *make(uint64_t base, struct ends *ret)
{
	int in[2], out[2], err[2], fds[3];
	struct proc *p;

	cr_assert(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0 &&
		  pipe2(err, O_CLOEXEC) == 0);
	fds[0] = in[0];
	fds[1] = out[1];
	fds[2] = err[1];
	*ret = (struct ends){in[1], out[0], err[0]};
	(void)fd_set_nonblock(out[0], 1);
	(void)fd_set_nonblock(err[0], 1);
	p = proc_new(&all, fds, false);
	cr_assert_not_null(p);
	cr_assert(fds[0] == -1 && fds[1] == -1 && fds[2] == -1);
	cr_assert_eq(proc_open(p, base), 0);
	cr_assert_eq(link_open(agent.l, base), 0);
	cr_assert_eq(link_open(agent.l, base + 1), 0);
	return p;
}

static void settle(void)
{
	for (int i = 0; i < 6; i++) {
		pump(0);
		cr_assert_eq(loop_step(l, false), 0);
	}
}

static void drop(struct ends *e)
{
	fd_close(&e->in);
	fd_close(&e->out);
	fd_close(&e->err);
}

Test(proc, told_after_the_last_byte_and_the_close)
{
	struct ends e;
	struct proc *p = make(3, &e);
	char buf[8] = "";

	proc_started(p);
	watched = dup(e.err);
	cr_assert_eq(link_send(agent.l, 3, "out", 3), 3);
	link_send_exit(agent.l, 3, 7);
	settle();
	cr_assert_eq(overs, 1);
	cr_expect_eq(last_status, 7);
	cr_expect(closed_first, "the descriptors were open when the end was told");
	cr_expect_eq(read(e.out, buf, sizeof(buf)), 3);
	cr_expect_str_eq(buf, "out");
	cr_expect_eq(read(e.out, buf, sizeof(buf)), 0);
	cr_expect_eq(all.cnt, 0);
	/* Its streams are the link's no more. */
	cr_expect_eq(link_open(host.l, 3), 0);
	cr_expect_eq(link_open(host.l, 4), 0);
	drop(&e);
}

Test(proc, a_reader_that_stalls_holds_the_end_back)
{
	struct ends e;
	struct proc *p = make(3, &e);
	static char junk[LINK_WINDOW];
	size_t got = 0, sent = link_send(agent.l, 3, junk, sizeof(junk));

	proc_started(p);
	link_send_exit(agent.l, 3, 0);
	settle();
	cr_assert_eq(overs, 0, "told while output waits");
	while (overs == 0) {
		ssize_t n = read(e.out, junk, sizeof(junk));

		got += n > 0 ? (size_t)n : 0;
		settle();
	}
	for (ssize_t n; (n = read(e.out, junk, sizeof(junk))) > 0;)
		got += (size_t)n;
	cr_expect_eq(got, sent);
	drop(&e);
}

Test(proc, a_reader_that_is_given_up)
{
	struct ends e;
	struct proc *p = make(3, &e);
	static char junk[LINK_WINDOW];

	proc_started(p);
	(void)link_send(agent.l, 3, junk, sizeof(junk));
	settle();
	proc_end(p, 137);
	settle();
	cr_assert_eq(overs, 0);
	proc_discard(p);
	settle();
	cr_expect_eq(overs, 1);
	cr_expect_eq(last_status, 137);
	drop(&e);
}

Test(proc, exit_before_the_acknowledgement)
{
	struct ends e;
	struct proc *p = make(3, &e);

	link_send_exit(agent.l, 3, 5);
	settle();
	cr_assert_eq(overs, 0, "over before its owner heard that it began");
	proc_started(p);
	settle();
	cr_expect_eq(overs, 1);
	cr_expect_eq(last_status, 5);
	drop(&e);
}

Test(proc, the_first_end_counts)
{
	struct ends e;
	struct proc *p = make(3, &e);

	proc_started(p);
	proc_end(p, 9);
	link_send_exit(agent.l, 3, 5);
	proc_end(p, 8);
	settle();
	cr_expect_eq(overs, 1);
	cr_expect_eq(last_status, 9);
	drop(&e);
}

Test(proc, a_stream_closed_early_is_closed_here)
{
	struct ends e;
	struct proc *p = make(3, &e);
	char c;

	proc_started(p);
	link_send_eof(agent.l, 4);
	settle();
	cr_expect_eq(read(e.err, &c, 1), 0, "stderr is still open");
	cr_expect_eq(read(e.out, &c, 1), -1, "stdout is closed with it");
	cr_expect_eq(overs, 0);
	drop(&e);
}

Test(proc, why_it_was_not_executed)
{
	struct ends e;
	struct proc *p = make(3, &e);
	static char junk[LINK_WINDOW];
	char buf[64] = "";

	p->unsure = true;
	proc_started(p);
	(void)link_send(agent.l, 4, junk, sizeof(junk));
	link_send_eof(agent.l, 4);
	settle();
	while (read(e.err, junk, sizeof(junk)) > 0)
		settle();
	cr_assert_eq(errno, EAGAIN, "its stderr was closed too early");
	proc_say(p, "exec /x: exec format error");
	proc_sure(p);
	settle();
	cr_expect_gt(read(e.err, buf, sizeof(buf) - 1), 0);
	cr_expect_str_eq(buf, "exec /x: exec format error\n");
	cr_expect_eq(read(e.err, buf, 1), 0, "then it is closed");
	proc_end(p, 126);
	proc_say(p, "too late");
	settle();
	cr_expect_eq(overs, 1);
	cr_expect_eq(last_status, 126);
	drop(&e);
}

Test(proc, input_waits_for_the_start_and_ends)
{
	struct ends e;
	struct proc *p = make(3, &e);

	cr_assert_eq(write(e.in, "abc", 3), 3);
	fd_close(&e.in);
	settle();
	cr_expect_eq(agent.got.len, 0, "input before the process is there");
	proc_started(p);
	settle();
	cr_assert_eq(agent.got.len, 3);
	cr_expect_eq(memcmp(agent.got.data, "abc", 3), 0);
	cr_expect_eq(agent.eofs, 1);
	drop(&e);
}

Test(proc, two_side_by_side)
{
	struct ends a, b;
	struct proc *p = make(3, &a), *q = make(5, &b);
	static char junk[LINK_WINDOW];
	char buf[8] = "";

	p->client = 11;
	q->client = 12;
	proc_started(p);
	proc_started(q);
	cr_expect_eq(proc_find(&all, 5), q);
	cr_expect_null(proc_find(&all, 4));
	cr_expect_eq(proc_of_client(&all, 11), p);
	cr_expect_null(proc_of_client(&all, 0));
	/* The first one's reader stalls; the second one does not notice. */
	(void)link_send(agent.l, 3, junk, sizeof(junk));
	cr_assert_eq(link_send(agent.l, 6, "err", 3), 3);
	link_send_exit(agent.l, 5, 3);
	settle();
	cr_expect_eq(overs, 1);
	cr_expect_eq(last_base, 5);
	cr_expect_eq(last_status, 3);
	cr_expect_eq(read(b.err, buf, sizeof(buf)), 3);
	cr_expect_eq(all.cnt, 1);
	drop(&a);
	drop(&b);
}

Test(proc, a_pty_is_one_stream)
{
	int pair[2], fds[3] = {-1, -1, -1};
	char buf[8] = "";
	struct proc *p;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	fds[0] = pair[0];
	fds[1] = dup(pair[0]);
	p = proc_new(&all, fds, true);
	cr_assert_not_null(p);
	cr_assert_eq(proc_open(p, 3), 0);
	cr_assert_eq(link_open(agent.l, 3), 0);
	cr_assert_eq(link_open(agent.l, 4), 0);
	proc_started(p);
	cr_assert_eq(write(pair[1], "in", 2), 2);
	cr_assert_eq(link_send(agent.l, 3, "out", 3), 3);
	settle();
	cr_expect_eq(agent.got.len, 2);
	cr_expect_eq(read(pair[1], buf, sizeof(buf)), 3);
	/* No more output is no hang-up. */
	link_send_eof(agent.l, 3);
	settle();
	cr_expect_eq(recv(pair[1], buf, sizeof(buf), MSG_DONTWAIT), -1);
	link_send_exit(agent.l, 3, 0);
	settle();
	cr_expect_eq(recv(pair[1], buf, sizeof(buf), MSG_DONTWAIT), 0, "the pty is still open");
	cr_expect_eq(overs, 1);
	(void)close(pair[1]);
}
