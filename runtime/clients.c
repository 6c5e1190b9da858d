/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox process's socket. See clients.h.
 *
 * A connection has one receive, one wait for room and one for a hang-up in flight. Its memory stays
 * until all have come back: a connection that ends is unlinked, its descriptor shut down, and freed
 * by its last completion.
 *
 * A client whose input the proxy does not want is not read from: what it sends stays in its socket,
 * and it waits. Meanwhile only its hang-up is listened for.
 */
#include "runtime/clients.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "runtime/state.h"

#define BACKLOG	 64
#define RX_LEN	 16384u
#define RETRY_NS (100 * NS_PER_MS) /* from a failed accept, where nothing tells when to go on */

struct conn {
	struct clients *owner;
	struct list node;
	int fd;
	proxy_client_t handle;
	bool dead;
	struct loop_op rx, room, hup;
	int fds[FD_PASS_MAX]; /* of a command that is not whole yet */
	unsigned nfds;
	struct msghdr msg;
	struct iovec iov;
	uint8_t data[RX_LEN];
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * FD_PASS_MAX)];
	} control;
};

struct clients {
	struct loop *loop;
	struct proxy *proxy;
	int listen_fd;
	struct loop_op accept;
	struct loop_timer retry; /* of accept */
	struct loop_timer tick;
	bool ending; /* nothing is armed any more */
	struct loop_work flush;
	struct list conns;
	void (*gone)(void *ctx, proxy_client_t client);
	void *gone_ctx;
	char url[64 + 256];
};

int clients_listen(int dir, struct err *e)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	auto_fd s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	mode_t old;
	int rc;

	if (s < 0)
		return err_sys(e, -errno, "socket of the sandbox");
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/" STATE_SOCK, dir);
	old = umask(0177);
	rc = bind(s, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;
	(void)umask(old);
	if (rc == 0 && listen(s, BACKLOG) < 0)
		rc = -errno;
	return rc < 0 ? err_sys(e, rc, "socket of the sandbox") : fd_take(&s);
}

static void close_fds(struct conn *c)
{
	for (unsigned i = 0; i < c->nfds; i++)
		(void)close(c->fds[i]);
	c->nfds = 0;
}

static void conn_maybe_free(struct conn *c)
{
	if (!c->dead || c->rx.busy || c->room.busy || c->hup.busy)
		return;
	close_fds(c);
	(void)close(c->fd);
	free(c);
}

static void conn_end(struct conn *c)
{
	if (c->dead)
		return;
	c->dead = true;
	list_del(&c->node);
	proxy_disconnect(c->owner->proxy, c->handle);
	if (c->owner->gone)
		c->owner->gone(c->owner->gone_ctx, c->handle);
	(void)shutdown(c->fd, SHUT_RDWR);
	loop_cancel(c->owner->loop, &c->rx);
	loop_cancel(c->owner->loop, &c->room);
	loop_cancel(c->owner->loop, &c->hup);
	conn_maybe_free(c);
}

/* Writes what waits; false when the connection has ended by that. */
static bool conn_flush(struct conn *c)
{
	struct proxy *p = c->owner->proxy;
	const void *buf;
	size_t len;

	while ((buf = proxy_output(p, c->handle, &len)) && len) {
		ssize_t n = send(c->fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			if (!c->room.busy)
				loop_poll(c->owner->loop, &c->room, c->fd, POLLOUT);
			return true;
		}
		if (n < 0) {
			conn_end(c);
			return false;
		}
		proxy_sent(p, c->handle, (size_t)n);
	}
	if (proxy_wants_close(p, c->handle)) {
		conn_end(c);
		return false;
	}
	return true;
}

static void set_tick(struct clients *s)
{
	uint64_t when = proxy_tick(s->proxy, clock_ns());

	if (when != UINT64_MAX && !s->tick.op.busy && !s->ending)
		loop_timer(s->loop, &s->tick, when);
}

static void conn_receive(struct conn *c)
{
	struct proxy *p = c->owner->proxy;

	if (c->rx.busy)
		return;
	if (!proxy_wants_input(p, c->handle)) { /* clients_wake() comes when it does */
		if (!c->hup.busy)
			loop_poll(c->owner->loop, &c->hup, c->fd, POLLHUP);
		return;
	}
	c->iov = (struct iovec){.iov_base = c->data, .iov_len = sizeof(c->data)};
	c->msg = (struct msghdr){.msg_iov = &c->iov,
				 .msg_iovlen = 1,
				 .msg_control = c->control.space,
				 .msg_controllen = sizeof(c->control.space)};
	loop_recvmsg(c->owner->loop, &c->rx, c->fd, &c->msg, MSG_CMSG_CLOEXEC);
}

static void flush_work(struct loop_work *w)
{
	struct clients *s = container_of(w, struct clients, flush);

	list_for_each_safe (pos, next, &s->conns) {
		struct conn *c = list_entry(pos, struct conn, node);

		if (conn_flush(c))
			conn_receive(c);
	}
	set_tick(s);
}

static void tick_done(struct loop_op *op, int res, unsigned flags)
{
	struct clients *s = container_of(op, struct clients, tick.op);

	(void)flags;
	if (res != -ECANCELED)
		set_tick(s);
}

static void room_done(struct loop_op *op, int res, unsigned flags)
{
	struct conn *c = container_of(op, struct conn, room);

	(void)res;
	(void)flags;
	if (c->dead)
		conn_maybe_free(c);
	else
		(void)conn_flush(c);
}

/* Whoever is not read from has gone. What it sent before is nobody's any more. */
static void hup_done(struct loop_op *op, int res, unsigned flags)
{
	struct conn *c = container_of(op, struct conn, hup);

	(void)res;
	(void)flags;
	if (c->dead)
		conn_maybe_free(c);
	else if (proxy_wants_input(c->owner->proxy, c->handle))
		conn_receive(c); /* it is read from again, which finds the end in its place */
	else
		conn_end(c);
}

/* What was sent along waits for the command that it belongs to; too many are closed, not kept. */
static void collect_fds(struct conn *c)
{
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&c->msg); h; h = CMSG_NXTHDR(&c->msg, h)) {
		size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(fd));
			if (c->nfds < FD_PASS_MAX && !c->dead)
				c->fds[c->nfds++] = fd;
			else
				(void)close(fd);
		}
	}
}

unsigned clients_take_fds(struct clients *s, proxy_client_t client, int *fds, unsigned max)
{
	list_for_each (pos, &s->conns) {
		struct conn *c = list_entry(pos, struct conn, node);
		unsigned n = MIN(c->nfds, max);

		if (c->handle != client)
			continue;
		memcpy(fds, c->fds, n * sizeof(*fds));
		memmove(c->fds, c->fds + n, (c->nfds - n) * sizeof(*fds));
		c->nfds -= n;
		close_fds(c);
		return n;
	}
	return 0;
}

void clients_on_gone(struct clients *c, void (*gone)(void *ctx, proxy_client_t client), void *ctx)
{
	c->gone = gone;
	c->gone_ctx = ctx;
}

static void rx_done(struct loop_op *op, int res, unsigned flags)
{
	struct conn *c = container_of(op, struct conn, rx);

	(void)flags;
	if (res >= 0)
		collect_fds(c);
	if (c->dead) {
		conn_maybe_free(c);
		return;
	}
	if (res == -EINTR || res == -EAGAIN) {
		conn_receive(c);
		return;
	}
	if (res <= 0) {
		conn_end(c);
		return;
	}
	proxy_input(c->owner->proxy, c->handle, c->data, (size_t)res, clock_ns());
	set_tick(c->owner);
	if (conn_flush(c))
		conn_receive(c);
}

static void conn_add(struct clients *s, int fd)
{
	struct conn *c = malloc(sizeof(*c));

	if (!c) {
		(void)close(fd);
		return;
	}
	*c = (struct conn){.owner = s, .fd = fd};
	c->rx = (struct loop_op){.done = rx_done, .what = "client"};
	c->room = (struct loop_op){.done = room_done, .what = "client output"};
	c->hup = (struct loop_op){.done = hup_done, .what = "client hang-up"};
	c->handle = proxy_connect(s->proxy);
	if (!c->handle) {
		log_warn("too many connections");
		(void)close(fd);
		free(c);
		return;
	}
	list_add_tail(&s->conns, &c->node);
	conn_receive(c);
}

static void accept_done(struct loop_op *op, int res, unsigned flags)
{
	struct clients *s = container_of(op, struct clients, accept);

	(void)flags;
	if (s->ending) {
		if (res >= 0)
			(void)close(res);
		return;
	}
	if (res >= 0)
		conn_add(s, res);
	else if (res == -ECANCELED || res == -EBADF || res == -EINVAL)
		return;
	/* Out of descriptors or memory, the same would come back at once, again and again. */
	if (res == -EMFILE || res == -ENFILE || res == -ENOBUFS || res == -ENOMEM)
		loop_timer(s->loop, &s->retry, clock_ns() + RETRY_NS);
	else
		loop_accept(s->loop, &s->accept, s->listen_fd);
}

static void retry_done(struct loop_op *op, int res, unsigned flags)
{
	struct clients *s = container_of(op, struct clients, retry.op);

	(void)res;
	(void)flags;
	if (!s->ending)
		loop_accept(s->loop, &s->accept, s->listen_fd);
}

void clients_random(void *ctx, void *buf, size_t len)
{
	(void)ctx;
	/* 256 bytes and less never fail once the pool is up, and it is: this is long after boot. */
	BUG_ON(len > 256 || getrandom(buf, len, 0) != (ssize_t)len);
}

void clients_wake(struct clients *c)
{
	loop_post(c->loop, &c->flush);
}

int clients_new(struct clients **ret, struct loop *l, int listen_fd, const char *id,
		const struct proxy_ops *ops, void *ctx, struct err *e)
{
	struct clients *s = calloc(1, sizeof(*s));

	if (!s) {
		(void)close(listen_fd);
		return err_set(e, -ENOMEM, "socket of the sandbox: out of memory");
	}
	s->loop = l;
	s->listen_fd = listen_fd;
	list_init(&s->conns);
	s->accept = (struct loop_op){.done = accept_done, .what = "accept"};
	s->retry.op = (struct loop_op){.done = retry_done, .what = "accept again"};
	s->tick.op = (struct loop_op){.done = tick_done, .what = "client timer"};
	s->flush.fn = flush_work;
	(void)snprintf(s->url, sizeof(s->url), "unix:///%s/" STATE_SOCK, id);
	s->proxy = proxy_new(id, s->url, ops, ctx);
	if (!s->proxy) {
		(void)close(listen_fd);
		free(s);
		return err_set(e, -ENOMEM, "socket of the sandbox: out of memory");
	}
	loop_accept(l, &s->accept, listen_fd);
	*ret = s;
	return 0;
}

struct proxy *clients_proxy(struct clients *c)
{
	return c->proxy;
}

void clients_free(struct clients *s)
{
	if (!s)
		return;
	/* A connection or a tick that comes in between must not be followed by another one. */
	s->ending = true;
	list_for_each_safe (pos, next, &s->conns) {
		struct conn *c = list_entry(pos, struct conn, node);

		if (conn_flush(c))
			conn_end(c);
	}
	loop_cancel(s->loop, &s->accept);
	loop_cancel(s->loop, &s->retry.op);
	loop_cancel(s->loop, &s->tick.op);
	while (s->accept.busy || s->retry.op.busy || s->tick.op.busy)
		if (loop_step(s->loop, true) < 0)
			break;
	loop_unpost(s->loop, &s->flush);
	(void)close(s->listen_fd);
	proxy_free(s->proxy);
	free(s);
}
