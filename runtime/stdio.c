/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's descriptors on the loop. See stdio.h. */
#include "runtime/stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"

#define CHUNK 65536u

/* How a descriptor may be used without waiting in it. */
enum access {
	ACCESS_NONBLOCK, /* a description of our own with O_NONBLOCK */
	ACCESS_SOCKET,	 /* MSG_DONTWAIT */
	ACCESS_READY,	 /* shared and blocking: ask first, small writes */
	ACCESS_FILE,	 /* a file: never waits for anybody */
};

struct stream_fd {
	int fd;	  /* the engine's */
	int mine; /* opened anew, or -1 */
	enum access access;
};

static void stream_fd_open(struct stream_fd *s, int fd, int proc_fd, int flags)
{
	char name[16];
	struct stat st;

	*s = (struct stream_fd){.fd = fd, .mine = -1, .access = ACCESS_READY};
	if (fstat(fd, &st) < 0)
		return;
	if (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)) {
		s->access = ACCESS_FILE;
		return;
	}
	if (S_ISSOCK(st.st_mode)) {
		s->access = ACCESS_SOCKET;
		return;
	}
	/* Opening a pty's master again would make another pty. */
	if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(5, 2))
		return;
	(void)snprintf(name, sizeof(name), "%d", fd);
	s->mine = openat(proc_fd, name, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (s->mine >= 0)
		s->access = ACCESS_NONBLOCK;
}

static void stream_fd_close(struct stream_fd *s)
{
	fd_close(&s->mine);
	fd_close(&s->fd);
}

static int stream_fd_no(const struct stream_fd *s)
{
	return s->mine >= 0 ? s->mine : s->fd;
}

/* ---- source ---------------------------------------------------------------------------------- */

struct source {
	struct loop *loop;
	struct stream_fd in;
	const struct source_ops *ops; /* NULL = ended */
	void *ctx;
	struct loop_op op;
	unsigned inside; /* calls of ops on the stack: its memory stays */
	uint8_t data[CHUNK];
	size_t off, len;
};

static void source_gone(struct source *s)
{
	stream_fd_close(&s->in);
	free(s);
}

static void source_leave(struct source *s)
{
	if (--s->inside == 0 && !s->ops && !s->op.busy)
		source_gone(s);
}

static void source_poll(struct source *s)
{
	if (!s->op.busy)
		loop_poll(s->loop, &s->op, stream_fd_no(&s->in), POLLIN);
}

/* Hands on what was read, and asks for more when all of it is gone. */
static void source_push(struct source *s)
{
	while (s->ops && s->off < s->len) {
		size_t n = s->ops->take(s->ctx, s->data + s->off, s->len - s->off);

		if (n == 0)
			return;
		s->off += n;
	}
	if (s->ops)
		source_poll(s);
}

static void source_read(struct source *s, int res)
{
	ssize_t n;

	if (res < 0) {
		s->ops->eof(s->ctx);
		return;
	}
	if (s->in.access == ACCESS_SOCKET)
		n = recv(s->in.fd, s->data, sizeof(s->data), MSG_DONTWAIT);
	else
		n = read(stream_fd_no(&s->in), s->data, sizeof(s->data));
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		source_poll(s);
		return;
	}
	/* A pty whose other end is gone says EIO: the end, too. */
	if (n <= 0) {
		s->ops->eof(s->ctx);
		return;
	}
	s->off = 0;
	s->len = (size_t)n;
	source_push(s);
}

static void source_ready(struct loop_op *op, int res, unsigned flags)
{
	struct source *s = container_of(op, struct source, op);

	(void)flags;
	if (!s->ops) {
		source_gone(s);
		return;
	}
	s->inside++;
	source_read(s, res);
	source_leave(s);
}

struct source *source_new(struct loop *l, int fd, int proc_fd, const struct source_ops *ops,
			  void *ctx)
{
	struct source *s = malloc(sizeof(*s));

	if (!s) {
		(void)close(fd);
		return NULL;
	}
	s->loop = l;
	s->ops = ops;
	s->ctx = ctx;
	s->inside = 0;
	s->off = s->len = 0;
	s->op = (struct loop_op){.done = source_ready, .what = "stdin"};
	stream_fd_open(&s->in, fd, proc_fd, O_RDONLY);
	return s;
}

void source_start(struct source *s)
{
	source_poll(s);
}

void source_resume(struct source *s)
{
	if (s->off == s->len)
		return;
	s->inside++;
	source_push(s);
	source_leave(s);
}

void source_end(struct source *s)
{
	if (!s)
		return;
	s->ops = NULL;
	if (s->op.busy) {
		loop_cancel(s->loop, &s->op); /* its end frees it; the descriptor goes now */
		stream_fd_close(&s->in);
	} else if (s->inside) {
		stream_fd_close(&s->in);
	} else {
		source_gone(s);
	}
}

/* ---- sink ------------------------------------------------------------------------------------ */

struct sink {
	struct loop *loop;
	struct stream_fd out;
	const struct sink_ops *ops; /* NULL = ended */
	void *ctx;
	struct loop_op op;
	unsigned inside; /* as in a source */
	struct buf queue;
	bool broken;
};

static void sink_gone(struct sink *s)
{
	stream_fd_close(&s->out);
	buf_free(&s->queue);
	free(s);
}

static void sink_leave(struct sink *s)
{
	if (--s->inside == 0 && !s->ops && !s->op.busy)
		sink_gone(s);
}

static void sink_poll(struct sink *s)
{
	if (!s->op.busy)
		loop_poll(s->loop, &s->op, stream_fd_no(&s->out), POLLOUT);
}

/* As much as goes without waiting: bytes, 0 = not now, -errno. */
static ssize_t sink_try(struct sink *s, const void *buf, size_t len, bool is_ready)
{
	struct pollfd p = {.fd = s->out.fd, .events = POLLOUT};
	ssize_t n;

	if (s->out.access == ACCESS_READY) {
		/* A pipe that polls writable has room for PIPE_BUF bytes at least. */
		if (!is_ready && poll(&p, 1, 0) <= 0)
			return 0;
		len = MIN(len, (size_t)PIPE_BUF);
	}
	do {
		n = s->out.access == ACCESS_SOCKET
			? send(s->out.fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL)
			: write(stream_fd_no(&s->out), buf, len);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	return n;
}

static void sink_break(struct sink *s)
{
	if (s->broken)
		return;
	s->broken = true;
	buf_reset(&s->queue);
	if (s->ops)
		s->ops->broken(s->ctx);
}

static void sink_drain(struct sink *s, bool is_ready)
{
	while (s->queue.len && !s->broken) {
		ssize_t n = sink_try(s, s->queue.data, s->queue.len, is_ready);

		is_ready = false;
		if (n < 0) {
			sink_break(s);
			break;
		}
		if (n == 0) {
			sink_poll(s);
			return;
		}
		buf_consume(&s->queue, (size_t)n);
		s->ops->consumed(s->ctx, (size_t)n);
		if (!s->ops)
			return;
	}
	if (s->ops)
		s->ops->idle(s->ctx);
}

static void sink_ready(struct loop_op *op, int res, unsigned flags)
{
	struct sink *s = container_of(op, struct sink, op);

	(void)flags;
	if (!s->ops) {
		sink_gone(s);
		return;
	}
	s->inside++;
	if (res < 0)
		sink_break(s);
	sink_drain(s, true);
	sink_leave(s);
}

struct sink *sink_new(struct loop *l, int fd, int proc_fd, const struct sink_ops *ops, void *ctx)
{
	struct sink *s = calloc(1, sizeof(*s));

	if (!s) {
		(void)close(fd);
		return NULL;
	}
	s->loop = l;
	s->ops = ops;
	s->ctx = ctx;
	s->op = (struct loop_op){.done = sink_ready, .what = "stdout or stderr"};
	stream_fd_open(&s->out, fd, proc_fd, O_WRONLY);
	return s;
}

static void sink_take(struct sink *s, const void *buf, size_t len)
{
	const uint8_t *p = buf;
	ssize_t n = 0;

	/* Straight from the ring while nothing waits before it. */
	while (len && !s->queue.len && !s->broken) {
		n = sink_try(s, p, len, false);
		if (n <= 0)
			break;
		p += n;
		len -= (size_t)n;
		s->ops->consumed(s->ctx, (size_t)n);
		if (!s->ops)
			return;
	}
	if (n < 0)
		sink_break(s);
	if (!len || s->broken)
		return;
	if (buf_append(&s->queue, p, len) < 0)
		sink_break(s); /* bytes are missing: better none than others */
	else
		sink_poll(s);
}

void sink_write(struct sink *s, const void *buf, size_t len)
{
	s->inside++;
	sink_take(s, buf, len);
	sink_leave(s);
}

bool sink_is_idle(const struct sink *s)
{
	return s->queue.len == 0;
}

void sink_discard(struct sink *s)
{
	if (!s)
		return;
	s->inside++;
	sink_break(s);
	sink_leave(s);
}

void sink_end(struct sink *s)
{
	if (!s)
		return;
	s->ops = NULL;
	if (s->op.busy) {
		loop_cancel(s->loop, &s->op);
		stream_fd_close(&s->out);
	} else if (s->inside) {
		stream_fd_close(&s->out);
	} else {
		sink_gone(s);
	}
}
