/* SPDX-License-Identifier: Apache-2.0 */
/* See forward.h. */
#include "runtime/forward.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "runtime/netown.h"
#include "runtime/stdio.h"

#define BACKLOG	 64
#define RETRY_NS (100 * NS_PER_MS) /* from a failed accept, where nothing tells when to go on */

struct forward {
	struct list node;
	struct forwards *all;
	uint64_t base;
	int fd;		   /* the socket; source and sink have copies of it */
	struct source *in; /* NULL: its client has no more to say, or the guest does not listen */
	struct sink *out;
	bool eof;  /* the guest has no more to say */
	bool shut; /* and the client has been told */
	struct loop_work reap;
};

/* ---- sockets that listen ------------------------------------------------------------------------- */

static int listen_at(int family, const void *addr, socklen_t len)
{
	auto_fd fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int on = 1;

	if (fd < 0)
		return -errno;
	/* lo may be down yet: its addresses come when it is set up. */
	if (setsockopt(fd, family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6,
		       family == AF_INET ? IP_FREEBIND : IPV6_FREEBIND, &on, sizeof(on)) < 0 ||
	    bind(fd, addr, len) < 0 || listen(fd, BACKLOG) < 0)
		return -errno;
	return fd_take(&fd);
}

void forward_listen(int fds[FORWARD_FDS])
{
	const struct sockaddr_in v4 = {.sin_family = AF_INET,
				       .sin_port = htons(NETOWN_PORT),
				       .sin_addr.s_addr = htonl(NETOWN_ADDR)};
	const struct sockaddr_in6 v6 = {.sin6_family = AF_INET6,
					.sin6_port = htons(NETOWN_PORT),
					.sin6_addr = IN6ADDR_LOOPBACK_INIT};

	fds[0] = listen_at(AF_INET, &v4, sizeof(v4));
	fds[1] = listen_at(AF_INET6, &v6, sizeof(v6));
	for (unsigned i = 0; i < FORWARD_FDS; i++) {
		if (fds[i] >= 0)
			continue;
		log_dbg("network: no socket for forwarded ports: %s", strerror(-fds[i]));
		fds[i] = -1;
	}
}

/* ---- a connection -------------------------------------------------------------------------------- */

static void forward_free(struct forward *f)
{
	source_end(f->in);
	sink_end(f->out);
	if (f->base) {
		link_close(f->all->link, f->base);
		link_close(f->all->link, f->base + 1);
	}
	loop_unpost(f->all->loop, &f->reap);
	list_del(&f->node);
	f->all->cnt--;
	fd_close(&f->fd);
	free(f);
}

static void end_input(struct forward *f)
{
	source_end(f->in);
	f->in = NULL;
	loop_post(f->all->loop, &f->reap);
}

static size_t in_take(void *ctx, const void *buf, size_t len)
{
	struct forward *f = ctx;
	size_t n = link_send(f->all->link, f->base, buf, len);

	f->all->ops->flush(f->all->ctx);
	return n;
}

static void in_eof(void *ctx)
{
	struct forward *f = ctx;

	link_send_eof(f->all->link, f->base);
	f->all->ops->flush(f->all->ctx);
	end_input(f);
}

static void out_consumed(void *ctx, size_t len)
{
	struct forward *f = ctx;

	link_consumed(f->all->link, f->base, len);
	f->all->ops->flush(f->all->ctx);
}

/* The client is gone: there is nobody to tell of the guest's end. */
static void out_broken(void *ctx)
{
	struct forward *f = ctx;

	link_send_closed(f->all->link, f->base);
	f->all->ops->flush(f->all->ctx);
	f->eof = true;
	loop_post(f->all->loop, &f->reap);
}

static void out_idle(void *ctx)
{
	struct forward *f = ctx;

	loop_post(f->all->loop, &f->reap);
}

static const struct source_ops in_ops = {.take = in_take, .eof = in_eof};
static const struct sink_ops out_ops = {
    .consumed = out_consumed, .broken = out_broken, .idle = out_idle};

/* Posted: source and sink go on working with what would be freed. */
static void reap_work(struct loop_work *w)
{
	struct forward *f = container_of(w, struct forward, reap);

	if (f->eof && !f->shut && sink_is_idle(f->out)) {
		f->shut = true;
		(void)shutdown(f->fd, SHUT_WR);
	}
	if (f->shut && !f->in)
		forward_free(f);
}

static struct forward *forward_new(struct forwards *all, int fd)
{
	struct forward *f = calloc(1, sizeof(*f));
	int in = -1, out = -1;

	if (f) {
		in = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		out = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	}
	if (in < 0 || out < 0) {
		fd_close(&in);
		fd_close(&out);
		(void)close(fd);
		free(f);
		return NULL;
	}
	f->all = all;
	f->fd = fd;
	f->reap.fn = reap_work;
	list_add_tail(&all->list, &f->node);
	all->cnt++;
	f->in = source_new(all->loop, in, all->proc_fd, &in_ops, f);
	f->out = sink_new(all->loop, out, all->proc_fd, &out_ops, f);
	if (f->in && f->out)
		return f;
	forward_free(f);
	return NULL;
}

/* The address and port that the client has dialled: they are this socket's own now. */
static int dialled(int fd, char address[INET6_ADDRSTRLEN], uint16_t *ret_port)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} a = {.any.sa_family = AF_UNSPEC};
	socklen_t len = sizeof(a);
	const void *addr;

	if (getsockname(fd, &a.any, &len) < 0)
		return -errno;
	addr = a.any.sa_family == AF_INET ? (const void *)&a.v4.sin_addr
					  : (const void *)&a.v6.sin6_addr;
	*ret_port = ntohs(a.any.sa_family == AF_INET ? a.v4.sin_port : a.v6.sin6_port);
	return inet_ntop(a.any.sa_family, addr, address, INET6_ADDRSTRLEN) ? 0 : -errno;
}

static int forward_dial(struct forward *f)
{
	struct forwards *all = f->all;
	uint64_t base = all->ops->next_base(all->ctx);
	char address[INET6_ADDRSTRLEN];
	uint16_t port = 0;
	int rc = dialled(f->fd, address, &port);

	rc = rc ? rc : link_open(all->link, base);
	if (rc < 0)
		return rc;
	rc = link_open(all->link, base + 1); /* every base has two */
	if (rc < 0) {
		link_close(all->link, base);
		return rc;
	}
	f->base = base;
	return all->ops->dial(all->ctx, base, address, port);
}

static void take(struct forwards *all, int fd)
{
	struct forward *f;
	int rc = -ENOBUFS;

	if (all->cnt >= FORWARDS_MAX) {
		(void)close(fd);
		log_warn("a connection to the guest's localhost is one too many");
		return;
	}
	f = forward_new(all, fd);
	if (f)
		rc = forward_dial(f);
	if (rc == 0)
		return;
	log_dbg("forwarding a connection: %s", strerror(-rc));
	if (f)
		forward_free(f);
}

static void accept_done(struct loop_op *op, int res, unsigned flags)
{
	struct forward_listener *l = container_of(op, struct forward_listener, accept);
	struct forwards *all = l->all;

	(void)flags;
	if (all->ending) {
		if (res >= 0)
			(void)close(res);
		return;
	}
	if (res >= 0)
		take(all, res);
	else if (res == -ECANCELED || res == -EBADF || res == -EINVAL)
		return;
	if (res < 0)
		loop_timer(all->loop, &l->retry, clock_ns() + RETRY_NS);
	else
		loop_accept(all->loop, &l->accept, l->fd);
}

static void retry_done(struct loop_op *op, int res, unsigned flags)
{
	struct forward_listener *l = container_of(op, struct forward_listener, retry.op);

	(void)res;
	(void)flags;
	if (!l->all->ending)
		loop_accept(l->all->loop, &l->accept, l->fd);
}

/* ---- life ---------------------------------------------------------------------------------------- */

void forwards_begin(struct forwards *all, struct loop *l, struct link *link, int proc_fd,
		    const struct forwards_ops *ops, void *ctx)
{
	all->loop = l;
	all->link = link;
	all->proc_fd = proc_fd;
	all->ops = ops;
	all->ctx = ctx;
	list_init(&all->list);
	for (unsigned i = 0; i < FORWARD_FDS; i++) {
		struct forward_listener *one = &all->listener[i];

		one->all = all;
		one->accept = (struct loop_op){.done = accept_done, .what = "accept forwarded"};
		one->retry.op = (struct loop_op){.done = retry_done, .what = "accept again"};
		if (one->fd >= 0)
			loop_accept(l, &one->accept, one->fd);
	}
}

void forwards_end(struct forwards *all)
{
	for (unsigned i = 0; all->loop && i < FORWARD_FDS; i++) {
		struct forward_listener *one = &all->listener[i];

		all->ending = true;
		loop_cancel(all->loop, &one->accept);
		loop_cancel(all->loop, &one->retry.op);
		while (one->accept.busy || one->retry.op.busy)
			if (loop_step(all->loop, true) < 0)
				break;
	}
	if (all->loop)
		list_for_each_safe (pos, next, &all->list)
			forward_free(list_entry(pos, struct forward, node));
	for (unsigned i = 0; i < FORWARD_FDS; i++)
		fd_close(&all->listener[i].fd);
	all->loop = NULL;
}

/* ---- from the link ------------------------------------------------------------------------------- */

static struct forward *find(const struct forwards *all, uint64_t stream)
{
	if (all->loop)
		list_for_each (pos, &all->list) {
			struct forward *f = list_entry(pos, struct forward, node);

			if (f->base && f->base == stream)
				return f;
		}
	return NULL;
}

void forwards_dialled(struct forwards *all, uint64_t base, bool ok)
{
	struct forward *f = find(all, base);

	if (f && !ok)
		forward_free(f);
	else if (f && f->in)
		source_start(f->in);
}

bool forwards_data(struct forwards *all, uint64_t stream, const void *buf, size_t len)
{
	struct forward *f = find(all, stream);

	if (f)
		sink_write(f->out, buf, len);
	return f;
}

bool forwards_eof(struct forwards *all, uint64_t stream)
{
	struct forward *f = find(all, stream);

	if (!f)
		return false;
	f->eof = true;
	loop_post(all->loop, &f->reap);
	return true;
}

bool forwards_closed(struct forwards *all, uint64_t stream)
{
	struct forward *f = find(all, stream);

	if (f && f->in)
		end_input(f);
	return f;
}

bool forwards_writable(struct forwards *all, uint64_t stream)
{
	struct forward *f = find(all, stream);

	if (f && f->in)
		source_resume(f->in);
	return f;
}
