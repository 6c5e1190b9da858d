/* SPDX-License-Identifier: Apache-2.0 */
/* See dns.h. One of it in the guest; the containers share its network. */
#include "agent/dns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/container.h"
#include "base/b64.h"
#include "base/clock.h"
#include "base/fd.h"

#define DNS_OLD_NS (5 * NS_PER_SEC) /* resolvers have asked again by then */
#define HEADER_LEN 12		    /* RFC 1035, 4.1.1 */
#define PER_TURN   16u

struct question {
	uint32_t id; /* 0 = free */
	uint64_t when;
	struct sockaddr_in from; /* by UDP */
	struct conn *conn;	 /* by TCP */
};

struct conn {
	struct ev ev;
	int fd; /* -1 = free */
	size_t have;
	uint8_t msg[2 + DNS_LEN_MAX]; /* RFC 1035, 4.2.2: with its length in front */
};

static struct {
	struct agent *a;
	struct ev ev, tcp_ev;
	int fd, tcp_fd;
	uint32_t last_id;
	struct question open[DNS_OPEN_MAX];
	struct conn conn[DNS_TCP_MAX];
	unsigned next_conn;
} dns = {.ev = {.fd = -1}, .tcp_ev = {.fd = -1}, .fd = -1, .tcp_fd = -1};

/* A free place, or that of a question that nobody waits for any more. */
static struct question *place(uint64_t now)
{
	for (size_t i = 0; i < DNS_OPEN_MAX; i++) {
		struct question *q = &dns.open[i];

		if (!q->id || now - q->when > DNS_OLD_NS)
			return q;
	}
	return NULL;
}

/* False: it cannot be asked. */
static bool ask(const uint8_t *msg, size_t len, const struct sockaddr_in *from, struct conn *conn)
{
	auto_free char *text = b64_encode(msg, len);
	auto_free char *json = NULL;
	uint64_t now = clock_ns();
	struct question *q = place(now);

	if (!q || !text || len < HEADER_LEN)
		return false;
	if (++dns.last_id == 0)
		dns.last_id = 1;
	*q = (struct question){.id = dns.last_id, .when = now, .conn = conn};
	if (from)
		q->from = *from;
	if (asprintf(&json, "{\"event\":\"dns\",\"id\":%u,\"tcp\":%s,\"question\":\"%s\"}", q->id,
		     conn ? "true" : "false", text) < 0) {
		json = NULL;
		*q = (struct question){0};
		return false;
	}
	if (link_event(dns.a->link, json) == -ENOMEM)
		agent_stop(dns.a, "out of memory for an event");
	return true;
}

static void on_question(struct ev *ev, uint32_t events)
{
	uint8_t msg[DNS_LEN_MAX];

	(void)ev;
	(void)events;
	for (unsigned i = 0; i < PER_TURN; i++) {
		struct sockaddr_in from;
		socklen_t alen = sizeof(from);
		ssize_t n = recvfrom(dns.fd, msg, sizeof(msg), MSG_DONTWAIT | MSG_TRUNC,
				     (struct sockaddr *)&from, &alen);

		if (n < 0)
			return;
		if (n <= (ssize_t)sizeof(msg) && alen == sizeof(from))
			(void)ask(msg, (size_t)n, &from, NULL);
	}
}

/* ---- TCP ------------------------------------------------------------------------------------------ */

static void conn_end(struct conn *c)
{
	for (size_t i = 0; i < DNS_OPEN_MAX; i++)
		if (dns.open[i].conn == c)
			dns.open[i] = (struct question){0};
	ev_del(dns.a, &c->ev);
	fd_close(&c->fd);
}

static void on_conn(struct ev *ev, uint32_t events)
{
	struct conn *c = container_of(ev, struct conn, ev);
	size_t want = c->have < 2 ? 2 : 2 + ((size_t)c->msg[0] << 8 | c->msg[1]);
	ssize_t n;

	if (c->have > 2 && c->have == want && !(events & (EPOLLHUP | EPOLLERR)) &&
	    recv(c->fd, c->msg, 1, MSG_DONTWAIT | MSG_PEEK) == 0) {
		ev_mod(dns.a, ev, 0); /* it has no more to say, and waits for the answer */
		return;
	}
	if (want > sizeof(c->msg) || (c->have >= 2 && c->have == want)) {
		conn_end(c); /* too long, or more than a question, or its end */
		return;
	}
	n = recv(c->fd, c->msg + c->have, want - c->have, MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		conn_end(c);
		return;
	}
	c->have += (size_t)n;
	if (c->have > 2 && c->have == want && !ask(c->msg + 2, c->have - 2, NULL, c))
		conn_end(c);
}

static void on_connect(struct ev *ev, uint32_t events)
{
	struct conn *c = &dns.conn[dns.next_conn % DNS_TCP_MAX];
	int fd = accept4(dns.tcp_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int room = 2 + UINT16_MAX;

	(void)ev;
	(void)events;
	if (fd < 0)
		return;
	dns.next_conn++;
	if (c->fd >= 0)
		conn_end(c);
	*c = (struct conn){.ev = {.fd = -1, .fn = on_conn}, .fd = fd};
	/* An answer is written at once or not at all. */
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	if (ev_add(dns.a, &c->ev, fd, EPOLLIN) < 0)
		fd_close(&c->fd);
}

static void answer_conn(struct conn *c, uint8_t *raw, size_t len)
{
	uint8_t head[2] = {(uint8_t)(len >> 8), (uint8_t)len};
	struct iovec iov[2] = {{head, sizeof(head)}, {raw, len}};
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};

	if (len <= UINT16_MAX)
		(void)!sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	conn_end(c);
}

/* ---- life ----------------------------------------------------------------------------------------- */

static int listen_at(struct ev *ev, int *fd, int type)
{
	const struct sockaddr_in addr = {
	    .sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = htonl(0x7f00000b)};

	*fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (*fd >= 0 && bind(*fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0 &&
	    (type == SOCK_DGRAM || listen(*fd, DNS_TCP_MAX) == 0) &&
	    ev_add(dns.a, ev, *fd, EPOLLIN) == 0)
		return 0;
	fd_close(fd);
	return -1;
}

void dns_set(struct agent *a, bool on)
{
	if (!dns.a)
		for (unsigned i = 0; i < DNS_TCP_MAX; i++)
			dns.conn[i] = (struct conn){.ev = {.fd = -1}, .fd = -1};
	dns.a = a;
	dns.ev.fn = on_question;
	dns.tcp_ev.fn = on_connect;
	if (on && dns.fd < 0 && listen_at(&dns.ev, &dns.fd, SOCK_DGRAM) == 0)
		(void)!listen_at(&dns.tcp_ev, &dns.tcp_fd, SOCK_STREAM);
	/* Where the address is taken, it is by a container: its name server. */
	if (on)
		return;
	for (unsigned i = 0; i < DNS_TCP_MAX; i++)
		if (dns.conn[i].fd >= 0)
			conn_end(&dns.conn[i]);
	ev_del(a, &dns.ev);
	ev_del(a, &dns.tcp_ev);
	fd_close(&dns.fd);
	fd_close(&dns.tcp_fd);
}

void dns_answer(struct agent *a, uint32_t req, struct json_object *o)
{
	auto_free unsigned char *raw = NULL;
	const char *text = NULL;
	int64_t id = 0;
	struct err e = {0};
	size_t len = 0;
	int rc = js_int(o, "id", 1, UINT32_MAX, &id, &e);

	rc = rc ? rc : js_str(o, "answer", &text, &e);
	if (rc == 0 && (!text || js_base64(text, &raw, &len) < 0))
		rc = err_set(&e, -EINVAL, "answer: not base64");
	if (rc < 0) {
		calls_reply_err(a, req, &e, 1);
		return;
	}
	for (size_t i = 0; i < DNS_OPEN_MAX; i++) {
		struct question *q = &dns.open[i];

		if (!id || q->id != id)
			continue;
		q->id = 0;
		if (q->conn)
			answer_conn(q->conn, raw, len);
		else if (dns.fd >= 0)
			(void)!sendto(dns.fd, raw, len, MSG_DONTWAIT | MSG_NOSIGNAL,
				      (struct sockaddr *)&q->from, sizeof(q->from));
	}
	calls_reply_ok(a, req, NULL);
}
