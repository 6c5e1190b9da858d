/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sources and sinks: every byte in its order through pipes, sockets and files, a reader that
 * stalls, one that leaves, descriptions that stay blocking for those who share them.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "runtime/stdio.h"

#define TOTAL (3u << 20)

static struct loop *l;
static int proc_fd = -1;

struct seen {
	struct buf got;
	size_t room; /* what take() has left to take */
	size_t consumed;
	bool eof, broken, idle;
	struct sink *sink;
};

static void setup(void)
{
	struct err e = {0};

	(void)signal(SIGPIPE, SIG_IGN);
	cr_assert_eq(loop_new(&l, 16, &e), 0, "%s", e.msg);
	proc_fd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert(proc_fd >= 0);
}

static void teardown(void)
{
	loop_free(l);
	fd_close(&proc_fd);
}

TestSuite(stdio, .init = setup, .fini = teardown, .timeout = 30);

static size_t take(void *ctx, const void *p, size_t len)
{
	struct seen *s = ctx;
	size_t n = MIN(len, s->room);

	cr_assert_eq(buf_append(&s->got, p, n), 0);
	s->room -= n;
	return n;
}

static void eof(void *ctx)
{
	((struct seen *)ctx)->eof = true;
}

static void consumed(void *ctx, size_t len)
{
	((struct seen *)ctx)->consumed += len;
}

static void broken(void *ctx)
{
	((struct seen *)ctx)->broken = true;
}

static void idle(void *ctx)
{
	((struct seen *)ctx)->idle = true;
}

static const struct source_ops source_ops = {.take = take, .eof = eof};
static const struct sink_ops sink_ops = {.consumed = consumed, .broken = broken, .idle = idle};

static uint8_t *pattern(void)
{
	uint8_t *p = malloc(TOTAL);

	for (size_t i = 0; i < TOTAL; i++)
		p[i] = (uint8_t)(i * 7 + (i >> 8) * 13 + (i >> 16));
	return p;
}

/* The two ends of a stream: 0 a pipe, 1 a socket pair. [0] is for reading. */
static void ends(int kind, int fd[2])
{
	cr_assert_eq(kind ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd)
			  : pipe2(fd, O_CLOEXEC),
		     0);
}

static void through_source(int kind, int proc)
{
	auto_free uint8_t *data = pattern();
	struct seen s = {.room = 1000};
	struct source *src;
	size_t sent = 0;
	int fd[2];

	ends(kind, fd);
	cr_assert_eq(fd_set_nonblock(fd[1], 1), 0);
	src = source_new(l, fd[0], proc, &source_ops, &s);
	source_start(src);
	while (!s.eof) {
		ssize_t n = sent < TOTAL ? write(fd[1], data + sent, MIN(TOTAL - sent, 9999u)) : 0;

		if (n > 0)
			sent += (size_t)n;
		if (sent == TOTAL && fd[1] >= 0)
			fd_close(&fd[1]);
		cr_assert_eq(loop_step(l, false), 0);
		if (!s.room) { /* it had to stop, and goes on where it was */
			s.room = 4321;
			source_resume(src);
		}
	}
	cr_expect_eq(s.got.len, TOTAL);
	cr_expect_eq(memcmp(s.got.data, data, TOTAL), 0);
	source_end(src);
	buf_free(&s.got);
}

Test(stdio, source_pipe)
{
	through_source(0, proc_fd);
}

Test(stdio, source_socket)
{
	through_source(1, proc_fd);
}

Test(stdio, source_that_cannot_be_opened_anew)
{
	through_source(0, -1);
}

static void through_sink(int kind, int proc)
{
	auto_free uint8_t *data = pattern();
	auto_free uint8_t *back = malloc(TOTAL);
	struct seen s = {0};
	struct sink *k;
	size_t sent = 0, got = 0;
	int fd[2], keep;

	ends(kind, fd);
	keep = dup(fd[1]);
	cr_assert_eq(fd_set_nonblock(fd[0], 1), 0);
	k = sink_new(l, fd[1], proc, &sink_ops, &s);
	while (got < TOTAL) {
		/* As credits would have it: no more than 64 KiB on their way. */
		size_t part = MIN(TOTAL - sent, 65536 - (sent - s.consumed));
		ssize_t n;

		sink_write(k, data + sent, part);
		sent += part;
		cr_assert_eq(loop_step(l, false), 0);
		n = read(fd[0], back + got, TOTAL - got);
		if (n > 0)
			got += (size_t)n;
	}
	while (!sink_is_idle(k))
		cr_assert_eq(loop_step(l, false), 0);
	cr_expect_eq(s.consumed, TOTAL);
	cr_expect_eq(memcmp(back, data, TOTAL), 0);
	/* Nobody who shares the description finds it changed. */
	cr_expect_eq(fcntl(keep, F_GETFL) & O_NONBLOCK, 0);
	sink_end(k);
	(void)close(keep);
	cr_expect_eq(read(fd[0], back, 1), 0, "the sink has not let go of its descriptor");
	(void)close(fd[0]);
}

Test(stdio, sink_pipe)
{
	through_sink(0, proc_fd);
}

Test(stdio, sink_socket)
{
	through_sink(1, proc_fd);
}

Test(stdio, sink_that_cannot_be_opened_anew)
{
	through_sink(0, -1);
}

Test(stdio, sink_file_keeps_its_position)
{
	char name[] = "/tmp/husk-stdio-XXXXXX", text[16] = {0};
	struct seen s = {0};
	int fd = mkstemp(name), other = dup(fd);
	struct sink *k;

	cr_assert_eq(write(fd, "one ", 4), 4);
	k = sink_new(l, fd, proc_fd, &sink_ops, &s);
	sink_write(k, "two ", 4);
	cr_expect_eq(s.consumed, 4);
	sink_end(k);
	cr_assert_eq(write(other, "three", 5), 5); /* whoever shares it goes on behind it */
	cr_assert_eq(pread(other, text, sizeof(text), 0), 13);
	cr_expect_str_eq(text, "one two three");
	(void)unlink(name);
	(void)close(other);
}

static void reader_leaves(int kind, int proc)
{
	struct seen s = {0};
	struct sink *k;
	int fd[2];

	ends(kind, fd);
	k = sink_new(l, fd[1], proc, &sink_ops, &s);
	(void)close(fd[0]);
	sink_write(k, "lost", 4);
	for (int i = 0; i < 100 && !s.broken; i++)
		cr_assert_eq(loop_step(l, true), 0);
	cr_expect(s.broken);
	cr_expect(sink_is_idle(k));
	sink_write(k, "more", 4);
	cr_expect(sink_is_idle(k));
	cr_expect_eq(s.consumed, 0);
	sink_end(k);
}

Test(stdio, reader_leaves)
{
	reader_leaves(0, proc_fd);
	reader_leaves(0, -1);
	reader_leaves(1, proc_fd);
}

Test(stdio, ended_while_waiting)
{
	struct seen s = {.room = 100};
	struct source *src;
	struct sink *k;
	static const char big[100000];
	int in[2], out[2];

	ends(0, in);
	ends(0, out);
	src = source_new(l, in[0], proc_fd, &source_ops, &s);
	source_start(src);
	k = sink_new(l, out[1], proc_fd, &sink_ops, &s);
	sink_write(k, big, sizeof(big)); /* more than a pipe holds */
	cr_assert_eq(loop_step(l, false), 0);
	cr_expect(!sink_is_idle(k));
	source_end(src);
	sink_end(k);
	/* Our ends go with the kernel's last look at them. */
	for (int i = 0; i < 4; i++)
		cr_assert_eq(loop_step(l, false), 0);
	cr_expect_eq(write(in[1], "x", 1), -1);
	(void)close(in[1]);
	(void)close(out[0]);
}

Test(stdio, discard_of_none)
{
	sink_discard(NULL); /* one that has ended before the other stream's reader was given up */
}

/* The guest can break its link at any byte, and everything ends inside of the call then. */
struct last {
	struct source *src;
	struct sink *sink;
	unsigned calls;
};

static size_t take_and_end(void *ctx, const void *p, size_t len)
{
	struct last *x = ctx;

	(void)p;
	x->calls++;
	source_end(x->src);
	return len / 2;
}

static void end_by_consumed(void *ctx, size_t len)
{
	struct last *x = ctx;

	(void)len;
	x->calls++;
	sink_end(x->sink);
}

static void end_by_broken(void *ctx)
{
	end_by_consumed(ctx, 0);
}

static const struct source_ops ending_source = {.take = take_and_end, .eof = end_by_broken};
static const struct sink_ops ending_sink = {
    .consumed = end_by_consumed, .broken = end_by_broken, .idle = end_by_broken};

Test(stdio, source_ends_inside_of_take)
{
	struct last x = {0};
	int fd[2];

	ends(0, fd);
	x.src = source_new(l, fd[0], proc_fd, &ending_source, &x);
	source_start(x.src);
	cr_assert_eq(write(fd[1], "data", 4), 4);
	while (!x.calls)
		cr_assert_eq(loop_step(l, true), 0);
	cr_expect_eq(x.calls, 1);
	cr_expect_eq(write(fd[1], "x", 1), -1, "the descriptor is closed");
	(void)close(fd[1]);
}

Test(stdio, sink_ends_inside_of_consumed)
{
	struct last x = {0};
	char rest[8];
	int fd[2];

	ends(0, fd);
	x.sink = sink_new(l, fd[1], proc_fd, &ending_sink, &x);
	sink_write(x.sink, "data", 4);
	cr_expect_eq(x.calls, 1);
	cr_expect_eq(read(fd[0], rest, sizeof(rest)), 4);
	cr_expect_eq(read(fd[0], rest, sizeof(rest)), 0, "the descriptor is closed");
	(void)close(fd[0]);
}

Test(stdio, sink_ends_inside_of_broken)
{
	struct last x = {0};
	int fd[2];

	ends(0, fd);
	x.sink = sink_new(l, fd[1], proc_fd, &ending_sink, &x);
	(void)close(fd[0]);
	sink_write(x.sink, "data", 4);
	cr_expect_eq(x.calls, 1);
	ends(1, fd);
	x = (struct last){0};
	x.sink = sink_new(l, fd[1], proc_fd, &ending_sink, &x);
	(void)close(fd[0]);
	sink_discard(x.sink);
	cr_expect_eq(x.calls, 1);
}
