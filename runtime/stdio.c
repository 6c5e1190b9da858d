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

/* ---- what a source and a sink have in common ------------------------------------------------- */

/* A descriptor on the loop. Ended by its owner, it stays until nothing that uses it is on the stack or in the ring. */
struct port {
	struct loop *loop;
	struct stream_fd io;
	struct loop_op op;
	unsigned inside; /* calls of its owner's ops on the stack */
	bool ended;
	void (*gone)(struct port *p); /* frees it */
};

static void port_leave(struct port *p)
{
	if (--p->inside == 0 && p->ended && !p->op.busy)
		p->gone(p);
}

static void port_poll(struct port *p, short events)
{
	if (!p->op.busy)
		loop_poll(p->loop, &p->op, stream_fd_no(&p->io), events);
}

/* The owner hears nothing more; the descriptor goes now, the memory when it can. */
static void port_end(struct port *p)
{
	p->ended = true;
	if (!p->op.busy && !p->inside) {
		p->gone(p);
		return;
	}
	if (p->op.busy)
		loop_cancel(p->loop, &p->op); /* its end frees it */
	stream_fd_close(&p->io);
}

/* ---- source ---------------------------------------------------------------------------------- */

struct source {
	struct port port;
	const struct source_ops *ops;
	void *ctx;
	uint8_t data[CHUNK];
	size_t off, len;
};

static void source_gone(struct port *p)
{
	struct source *s = container_of(p, struct source, port);

	stream_fd_close(&p->io);
	free(s);
}

/* Hands on what was read, and asks for more when all of it is gone. */
static void source_push(struct source *s)
{
	while (!s->port.ended && s->off < s->len) {
		size_t n = s->ops->take(s->ctx, s->data + s->off, s->len - s->off);

		if (n == 0)
			return;
		s->off += n;
	}
	if (!s->port.ended)
		port_poll(&s->port, POLLIN);
}

static void source_read(struct source *s, int res)
{
	ssize_t n;

	if (res < 0) {
		s->ops->eof(s->ctx);
		return;
	}
	if (s->port.io.access == ACCESS_SOCKET)
		n = recv(s->port.io.fd, s->data, sizeof(s->data), MSG_DONTWAIT);
	else
		n = read(stream_fd_no(&s->port.io), s->data, sizeof(s->data));
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		port_poll(&s->port, POLLIN);
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
	struct source *s = container_of(op, struct source, port.op);

	(void)flags;
	if (s->port.ended) {
		s->port.gone(&s->port);
		return;
	}
	s->port.inside++;
	source_read(s, res);
	port_leave(&s->port);
}

struct source *source_new(struct loop *l, int fd, int proc_fd, const struct source_ops *ops,
			  void *ctx)
{
	struct source *s = malloc(sizeof(*s));

	if (!s) {
		(void)close(fd);
		return NULL;
	}
	s->port = (struct port){
	    .loop = l, .op = {.done = source_ready, .what = "stdin"}, .gone = source_gone};
	s->ops = ops;
	s->ctx = ctx;
	s->off = s->len = 0;
	stream_fd_open(&s->port.io, fd, proc_fd, O_RDONLY);
	return s;
}

void source_start(struct source *s)
{
	port_poll(&s->port, POLLIN);
}

void source_resume(struct source *s)
{
	if (s->off == s->len)
		return;
	s->port.inside++;
	source_push(s);
	port_leave(&s->port);
}

void source_end(struct source *s)
{
	if (s)
		port_end(&s->port);
}

/* ---- sink ------------------------------------------------------------------------------------ */

struct sink {
	struct port port;
	const struct sink_ops *ops;
	void *ctx;
	struct buf queue;
	bool broken;
};

static void sink_gone(struct port *p)
{
	struct sink *s = container_of(p, struct sink, port);

	stream_fd_close(&p->io);
	buf_free(&s->queue);
	free(s);
}

/* As much as goes without waiting: bytes, 0 = not now, -errno. */
static ssize_t sink_try(struct sink *s, const void *buf, size_t len, bool is_ready)
{
	struct pollfd p = {.fd = s->port.io.fd, .events = POLLOUT};
	ssize_t n;

	if (s->port.io.access == ACCESS_READY) {
		/* A pipe that polls writable has room for PIPE_BUF bytes at least. */
		if (!is_ready && poll(&p, 1, 0) <= 0)
			return 0;
		len = MIN(len, (size_t)PIPE_BUF);
	}
	do {
		n = s->port.io.access == ACCESS_SOCKET
			? send(s->port.io.fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL)
			: write(stream_fd_no(&s->port.io), buf, len);
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
	if (!s->port.ended)
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
			port_poll(&s->port, POLLOUT);
			return;
		}
		buf_consume(&s->queue, (size_t)n);
		s->ops->consumed(s->ctx, (size_t)n);
		if (s->port.ended)
			return;
	}
	if (!s->port.ended)
		s->ops->idle(s->ctx);
}

static void sink_ready(struct loop_op *op, int res, unsigned flags)
{
	struct sink *s = container_of(op, struct sink, port.op);

	(void)flags;
	if (s->port.ended) {
		s->port.gone(&s->port);
		return;
	}
	s->port.inside++;
	if (res < 0)
		sink_break(s);
	sink_drain(s, true);
	port_leave(&s->port);
}

struct sink *sink_new(struct loop *l, int fd, int proc_fd, const struct sink_ops *ops, void *ctx)
{
	struct sink *s = calloc(1, sizeof(*s));

	if (!s) {
		(void)close(fd);
		return NULL;
	}
	s->port = (struct port){
	    .loop = l, .op = {.done = sink_ready, .what = "stdout or stderr"}, .gone = sink_gone};
	s->ops = ops;
	s->ctx = ctx;
	stream_fd_open(&s->port.io, fd, proc_fd, O_WRONLY);
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
		if (s->port.ended)
			return;
	}
	if (n < 0)
		sink_break(s);
	if (!len || s->broken)
		return;
	if (buf_append(&s->queue, p, len) < 0)
		sink_break(s); /* bytes are missing: better none than others */
	else
		port_poll(&s->port, POLLOUT);
}

void sink_write(struct sink *s, const void *buf, size_t len)
{
	s->port.inside++;
	sink_take(s, buf, len);
	port_leave(&s->port);
}

bool sink_is_idle(const struct sink *s)
{
	return s->queue.len == 0;
}

void sink_discard(struct sink *s)
{
	if (!s)
		return;
	s->port.inside++;
	sink_break(s);
	port_leave(&s->port);
}

void sink_end(struct sink *s)
{
	if (s)
		port_end(&s->port);
}
