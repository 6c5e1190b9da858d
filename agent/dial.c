/* SPDX-License-Identifier: Apache-2.0 */
/* See dial.h. */
#include "agent/dial.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/container.h"
#include "base/fd.h"

#define SYNS 2 /* a full backlog: some seconds, then it is refused */

struct dial {
	struct list node;
	struct ev ev; /* while it connects */
	int fd;	      /* the same; then its streams' */
	uint32_t req;
	uint16_t port;
	int family;
	bool again; /* the other family's localhost is still to be tried */
	struct streams streams;
};

static void dial_free(struct dial *d)
{
	ev_del(d->streams.a, &d->ev);
	streams_close(&d->streams);
	fd_close(&d->fd);
	list_del(&d->node);
	free(d);
}

static void refuse(struct dial *d, int rc)
{
	struct err e = {0};

	(void)err_sys(&e, rc, "port %u", d->port);
	calls_reply_err(d->streams.a, d->req, &e, 1);
	dial_free(d);
}

/* Begins to connect. @text NULL: to the localhost of d->family. */
static int dial_to(struct dial *d, const char *text)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET,
				 .sin_port = htons(d->port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6,
				  .sin6_port = htons(d->port),
				  .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	bool is_v4 = d->family == AF_INET;
	int syns = SYNS, rc;

	if (text && inet_pton(d->family, text, is_v4 ? (void *)&v4.sin_addr : &v6.sin6_addr) != 1)
		return -EINVAL;
	d->fd = socket(d->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (d->fd < 0)
		return -errno;
	(void)setsockopt(d->fd, IPPROTO_TCP, TCP_SYNCNT, &syns, sizeof(syns));
	rc = connect(d->fd, is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6,
		     is_v4 ? sizeof(v4) : sizeof(v6));
	if (rc == 0 || errno == EINPROGRESS)
		rc = ev_add(d->streams.a, &d->ev, d->fd, EPOLLOUT);
	else
		rc = -errno;
	if (rc < 0)
		fd_close(&d->fd);
	return rc;
}

/* A server may listen at one of the two only, and whoever dials tries one after the other. */
static int dial_other(struct dial *d)
{
	ev_del(d->streams.a, &d->ev);
	fd_close(&d->fd);
	d->again = false;
	d->family = d->family == AF_INET ? AF_INET6 : AF_INET;
	return dial_to(d, NULL);
}

static void connected(struct dial *d)
{
	struct streams *s = &d->streams;
	int in = fcntl(d->fd, F_DUPFD_CLOEXEC, 3), rc;

	if (in < 0) {
		refuse(d, -errno);
		return;
	}
	ev_del(s->a, &d->ev);
	s->in.is_sock = true;
	rc = streams_attach(s, in, fd_take(&d->fd), -1, false);
	if (rc < 0) {
		refuse(d, rc);
		return;
	}
	calls_reply_ok(s->a, d->req, NULL);
}

static void connecting(struct ev *ev, uint32_t events)
{
	struct dial *d = container_of(ev, struct dial, ev);
	socklen_t len = sizeof(int);
	int rc = 0;

	(void)events;
	if (getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &rc, &len) < 0)
		rc = errno;
	if (rc == 0) {
		connected(d);
		return;
	}
	if (d->again && dial_other(d) == 0)
		return;
	refuse(d, -rc);
}

static bool is_localhost(const char *address)
{
	return !strcmp(address, "127.0.0.1") || !strcmp(address, "::1");
}

void dial_request(struct agent *a, uint32_t req, struct json_object *o)
{
	struct dial *d = calloc(1, sizeof(*d));
	int64_t base = 0, port = 0;
	const char *address = NULL;
	struct err e = {0};
	int rc = d ? js_int(o, "base", 1, INT64_MAX, &base, &e) : err_set(&e, -ENOMEM, "dial");

	rc = rc ? rc : js_int(o, "port", 1, UINT16_MAX, &port, &e);
	rc = rc ? rc : js_str(o, "address", &address, &e);
	if (rc == 0 && (!base || !port || !address))
		rc = err_set(&e, -EINVAL, "%s: missing",
			     !base   ? "base"
			     : !port ? "port"
				     : "address");
	if (rc == 0) {
		rc = streams_open(a, &d->streams, NULL, (uint64_t)base);
		if (rc < 0)
			(void)err_sys(&e, rc, "base: stream %lld", (long long)base);
	}
	if (rc < 0) {
		calls_reply_err(a, req, &e, 1);
		free(d);
		return;
	}
	d->ev = (struct ev){-1, connecting};
	d->fd = -1;
	d->req = req;
	d->port = (uint16_t)port;
	d->family = strchr(address, ':') ? AF_INET6 : AF_INET;
	d->again = is_localhost(address);
	list_add_tail(&a->dials, &d->node);
	rc = dial_to(d, address);
	if (rc < 0 && d->again)
		rc = dial_other(d);
	if (rc < 0)
		refuse(d, rc);
}

struct streams *dial_streams(struct agent *a, uint64_t stream)
{
	list_for_each (n, &a->dials) {
		struct streams *s = &list_entry(n, struct dial, node)->streams;

		if (s->opened && stream - s->base <= 1)
			return s;
	}
	return NULL;
}

void dial_progress(struct streams *s)
{
	struct dial *d = container_of(s, struct dial, streams);

	if (d->fd < 0 && d->ev.fd < 0 && streams_idle(s))
		dial_free(d);
}
