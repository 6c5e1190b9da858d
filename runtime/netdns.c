/* SPDX-License-Identifier: Apache-2.0 */
/* See netdns.h. */
#include "runtime/netdns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

#define SERVER	   0x7f00000bu /* 127.0.0.11 */
#define PORT	   53
#define HEADER_LEN 12u /* RFC 1035, 4.1.1 */
#define CONF_MAX   4096u

static struct sockaddr_in server_addr(void)
{
	return (struct sockaddr_in){
	    .sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = htonl(SERVER)};
}

void netdns_init(struct netdns *d)
{
	memset(d, 0, sizeof(*d));
	d->fd = -1;
	for (unsigned i = 0; i < NETDNS_TCP_MAX; i++)
		d->tcp[i].fd = -1;
}

int netdns_open(struct netdns *d)
{
	/* On the loopback alone: nothing from outside is for it. */
	const struct sockaddr_in any = {.sin_family = AF_INET,
					.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int rc;

	netdns_init(d);
	d->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (d->fd < 0)
		return -errno;
	rc = bind(d->fd, (const struct sockaddr *)&any, sizeof(any)) < 0 ? -errno : 0;
	/* lo may be down yet, and is not needed before there is a question. */
	return rc == -EADDRNOTAVAIL ? 0 : rc;
}

static void tcp_end(struct netdns_tcp *t)
{
	fd_close(&t->fd);
	free(t->msg);
	t->msg = NULL;
}

void netdns_close(struct netdns *d)
{
	for (unsigned i = 0; i < NETDNS_TCP_MAX; i++)
		tcp_end(&d->tcp[i]);
	fd_close(&d->fd);
}

bool netdns_is_in(const char *s)
{
	static const char word[] = "nameserver", addr[] = "127.0.0.11";

	for (; s; s = strchr(s, '\n')) {
		s += *s == '\n';
		if (strncmp(s, word, sizeof(word) - 1) != 0)
			continue;
		s += sizeof(word) - 1;
		s += strspn(s, " \t");
		if (strncmp(s, addr, sizeof(addr) - 1) == 0 &&
		    strchr(" \t\r\n", s[sizeof(addr) - 1]))
			return true; /* also at the end of the text */
	}
	return false;
}

/* Nothing but a plain file is opened for reading: a device or a FIFO could do anything. */
bool netdns_is_used(int proc_fd)
{
	auto_fd path = open("/etc/resolv.conf", O_PATH | O_CLOEXEC);
	auto_fd fd = -1;
	char number[16], text[CONF_MAX];
	struct stat st;
	ssize_t n;

	if (path < 0 || fstat(path, &st) < 0 || !S_ISREG(st.st_mode))
		return false;
	(void)snprintf(number, sizeof(number), "%d", path);
	fd = openat(proc_fd, number, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return false;
	text[n] = '\0';
	return netdns_is_in(text);
}

void netdns_ask(struct netdns *d, uint32_t id, uint8_t *msg, size_t len)
{
	const struct sockaddr_in to = server_addr();
	unsigned slot;

	if (d->fd < 0 || !id || len < HEADER_LEN || len > NETDNS_LEN_MAX)
		return;
	/* Our own numbers: two questions of the guest may have the same one. */
	slot = ++d->seq % NETDNS_OPEN_MAX;
	d->open[slot].seq = d->seq;
	d->open[slot].id = id;
	d->open[slot].orig = (uint16_t)(msg[0] << 8 | msg[1]);
	msg[0] = (uint8_t)(d->seq >> 8);
	msg[1] = (uint8_t)d->seq;
	(void)!sendto(d->fd, msg, len, MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)&to,
		      sizeof(to));
}

static size_t udp_answer(struct netdns *d, uint32_t *ret_id)
{
	uint8_t *buf = d->buf;

	for (unsigned i = 0; d->fd >= 0 && i < NETDNS_OPEN_MAX; i++) {
		struct sockaddr_in from = {0};
		socklen_t alen = sizeof(from);
		ssize_t n = recvfrom(d->fd, buf, sizeof(d->buf), MSG_DONTWAIT,
				     (struct sockaddr *)&from, &alen);
		unsigned seq, slot;

		if (n < 0 && errno == ECONNREFUSED)
			continue;
		if (n < 0)
			return 0;
		if (n < (ssize_t)HEADER_LEN || from.sin_addr.s_addr != htonl(SERVER))
			continue;
		seq = (unsigned)buf[0] << 8 | buf[1];
		slot = seq % NETDNS_OPEN_MAX;
		if (!d->open[slot].id || d->open[slot].seq != seq)
			continue; /* late, or nobody's */
		*ret_id = d->open[slot].id;
		d->open[slot].id = 0;
		buf[0] = (uint8_t)(d->open[slot].orig >> 8);
		buf[1] = (uint8_t)d->open[slot].orig;
		return (size_t)n;
	}
	return 0;
}

/* ---- TCP ----------------------------------------------------------------------------------------- */

void netdns_ask_tcp(struct netdns *d, uint32_t id, const uint8_t *msg, size_t len)
{
	const struct sockaddr_in to = server_addr();
	struct netdns_tcp *t = &d->tcp[d->next_tcp++ % NETDNS_TCP_MAX];

	tcp_end(t); /* one that has been under way for longest, if any */
	if (!id || len < HEADER_LEN || len > NETDNS_LEN_MAX)
		return;
	t->msg = malloc(2 + NETDNS_ANSWER_MAX);
	t->fd = t->msg ? socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;
	if (t->fd < 0 || (connect(t->fd, (const struct sockaddr *)&to, sizeof(to)) < 0 &&
			  errno != EINPROGRESS)) {
		tcp_end(t);
		return;
	}
	t->id = id;
	t->sent = false;
	t->have = 2 + len;
	t->msg[0] = (uint8_t)(len >> 8);
	t->msg[1] = (uint8_t)len;
	memcpy(t->msg + 2, msg, len);
}

/* The length of a whole answer, 0 while it is not there; an end without one frees the place. */
static size_t tcp_step(struct netdns_tcp *t)
{
	ssize_t n;

	if (!t->sent) {
		/* A fresh socket's buffer holds a question, or it is not connected yet. */
		n = send(t->fd, t->msg, t->have, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n != (ssize_t)t->have) {
			tcp_end(t);
			return 0;
		}
		t->sent = true;
		t->have = 0;
	}
	for (;;) {
		size_t want = t->have < 2 ? 2 : 2 + ((size_t)t->msg[0] << 8 | t->msg[1]);

		if (t->have >= 2 && t->have == want)
			return want - 2;
		n = recv(t->fd, t->msg + t->have, want - t->have, MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n <= 0) {
			tcp_end(t);
			return 0;
		}
		t->have += (size_t)n;
	}
}

static size_t tcp_answer(struct netdns *d, uint32_t *ret_id)
{
	for (unsigned i = 0; i < NETDNS_TCP_MAX; i++) {
		struct netdns_tcp *t = &d->tcp[i];
		size_t len = t->fd < 0 ? 0 : tcp_step(t);

		if (!len)
			continue;
		*ret_id = t->id;
		memcpy(d->buf, t->msg + 2, len);
		tcp_end(t);
		return len;
	}
	return 0;
}

void netdns_polls(const struct netdns *d, struct pollfd *p)
{
	*p++ = (struct pollfd){.fd = d->fd, .events = POLLIN};
	for (unsigned i = 0; i < NETDNS_TCP_MAX; i++)
		*p++ = (struct pollfd){.fd = d->tcp[i].fd,
				       .events = d->tcp[i].sent ? POLLIN : POLLOUT};
}

size_t netdns_answer(struct netdns *d, uint32_t *ret_id)
{
	size_t len = udp_answer(d, ret_id);

	return len ? len : tcp_answer(d, ret_id);
}
