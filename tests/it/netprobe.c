/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets with contents that are checked, for networks in end-to-end tests; static, so that it runs in
 * any container as well as on the host.
 *
 *   netprobe serve PORT            echoes TCP and UDP, IPv4 and IPv6; says "serving" first
 *   netprobe tcp HOST PORT BYTES   sends BYTES while it reads them back, and compares
 *   ... tcp HOST PORT BYTES open   the same, and does not end its side before all is back
 *   netprobe udp HOST PORT SIZE N  N datagrams of SIZE bytes, one after the other, the same
 *
 * The clients say "ok", or what was wrong. HOST is an address; NETPROBE_LIMIT: seconds (60).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/compiler.h"

#define CHUNK	  65536u
#define UDP_TRIES 20
#define UDP_MS	  1000

static const char *whom = "?";

static void die(const char *fmt, ...) PRINTF_LIKE(1, 2);
static void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)printf("%s: ", whom);
	(void)vprintf(fmt, ap);
	(void)printf("\n");
	va_end(ap);
	exit(1);
}

/* Byte @off of what is sent: no two places look alike, so a lost or doubled packet shows. */
static uint8_t byte_at(uint64_t off)
{
	uint64_t v = (off / 8 + 1) * UINT64_C(0x9e3779b97f4a7c15);

	v = (v ^ v >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	return (uint8_t)((v ^ v >> 27) >> off % 8 * 8);
}

static void fill(uint8_t *buf, size_t len, uint64_t off)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = byte_at(off + i);
}

static void compare(const uint8_t *buf, size_t len, uint64_t off)
{
	for (size_t i = 0; i < len; i++)
		if (buf[i] != byte_at(off + i))
			die("byte %llu is %02x and not %02x", (unsigned long long)(off + i), buf[i],
			    byte_at(off + i));
}

static uint64_t number(const char *s)
{
	char *end;
	uint64_t v = strtoull(s, &end, 10);

	if (*end || end == s)
		die("'%s' is not a number", s);
	return v;
}

/* ---- server -------------------------------------------------------------------------------------- */

static int bound(int type, uint16_t port)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	int on = 1, off = 0, fd = socket(AF_INET6, type, 0), rc;

	if (fd >= 0) {
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
		if (type == SOCK_DGRAM)
			(void)setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on));
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		rc = bind(fd, (struct sockaddr *)&a, sizeof(a));
	} else { /* no IPv6 here */
		fd = socket(AF_INET, type, 0);
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		rc = bind(fd, (struct sockaddr *)&a4, sizeof(a4));
	}
	if (rc < 0 || (type == SOCK_STREAM && listen(fd, 128) < 0))
		die("port %u: %s", port, strerror(errno));
	return fd;
}

static void echo_stream(int fd)
{
	static uint8_t buf[CHUNK];
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		for (ssize_t at = 0, put; at < n; at += put) {
			put = write(fd, buf + at, (size_t)(n - at));
			if (put < 0)
				exit(1);
		}
	exit(0);
}

/* From the address that was asked, which need not be the one that a route would choose. */
static void echo_datagram(int fd)
{
	static uint8_t buf[CHUNK];
	union {
		struct cmsghdr head;
		uint8_t room[CMSG_SPACE(sizeof(struct in6_pktinfo))];
	} ctl;
	struct sockaddr_storage from;
	struct iovec iov = {buf, sizeof(buf)};
	struct msghdr m = {.msg_name = &from,
			   .msg_namelen = sizeof(from),
			   .msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = &ctl,
			   .msg_controllen = sizeof(ctl)};
	struct cmsghdr *c;
	ssize_t n = recvmsg(fd, &m, 0);

	if (n < 0)
		return;
	iov.iov_len = (size_t)n;
	/* The interface is the route's business. */
	for (c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		unsigned any = 0;

		if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO)
			memcpy(CMSG_DATA(c) + offsetof(struct in6_pktinfo, ipi6_ifindex), &any,
			       sizeof(any));
	}
	(void)!sendmsg(fd, &m, 0);
}

static void serve(uint16_t port)
{
	struct pollfd p[2] = {{.fd = bound(SOCK_STREAM, port), .events = POLLIN},
			      {.fd = bound(SOCK_DGRAM, port), .events = POLLIN}};

	(void)signal(SIGCHLD, SIG_IGN);
	(void)puts("serving");
	while (poll(p, 2, -1) > 0) {
		if (p[0].revents) {
			int fd = accept(p[0].fd, NULL, NULL);

			if (fd >= 0 && fork() == 0)
				echo_stream(fd);
			(void)close(fd);
		}
		if (p[1].revents)
			echo_datagram(p[1].fd);
	}
}

/* ---- clients ------------------------------------------------------------------------------------- */

static int connected(const char *host, uint16_t port, int type)
{
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	bool v4 = inet_pton(AF_INET, host, &a.sin_addr) == 1;
	int fd;

	if (!v4 && inet_pton(AF_INET6, host, &a6.sin6_addr) != 1)
		die("not an IP address");
	fd = socket(v4 ? AF_INET : AF_INET6, type | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, v4 ? (struct sockaddr *)&a : (struct sockaddr *)&a6,
			      v4 ? sizeof(a) : sizeof(a6)) < 0)
		die("connecting: %s", strerror(errno));
	return fd;
}

static void stream_client(int fd, uint64_t bytes, bool open)
{
	static uint8_t out[CHUNK], in[CHUNK];
	uint64_t sent = 0, got = 0;
	bool ended = false;
	ssize_t n;

	for (;;) {
		struct pollfd p = {.fd = fd,
				   .events = (short)(POLLIN | (sent < bytes ? POLLOUT : 0))};

		if (sent == bytes && !ended && (!open || got == bytes)) {
			(void)shutdown(fd, SHUT_WR);
			ended = true;
		}
		if (poll(&p, 1, -1) < 0)
			die("poll: %s", strerror(errno));
		if (p.revents & POLLOUT && sent < bytes) {
			size_t len = MIN(bytes - sent, (uint64_t)CHUNK);

			fill(out, len, sent);
			n = send(fd, out, len, MSG_DONTWAIT | MSG_NOSIGNAL);
			if (n < 0 && errno != EAGAIN)
				die("after %llu bytes: %s", (unsigned long long)sent,
				    strerror(errno));
			sent += n > 0 ? (uint64_t)n : 0;
		}
		if (!(p.revents & (POLLIN | POLLHUP | POLLERR)))
			continue;
		n = recv(fd, in, sizeof(in), MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			continue;
		if (n < 0)
			die("after %llu bytes: %s", (unsigned long long)got, strerror(errno));
		if (n == 0)
			break;
		compare(in, (size_t)n, got);
		got += (uint64_t)n;
	}
	if (got != bytes)
		die("%llu bytes came back of %llu", (unsigned long long)got,
		    (unsigned long long)bytes);
}

static void datagram_client(int fd, size_t size, uint64_t count)
{
	static uint8_t out[CHUNK], in[CHUNK];

	if (size > sizeof(out))
		die("a datagram of %zu bytes", size);
	for (uint64_t i = 0; i < count; i++) {
		int tries = 0;
		ssize_t n = -1;

		fill(out, size, i * CHUNK);
		while (n < 0 && tries++ < UDP_TRIES) {
			struct pollfd p = {.fd = fd, .events = POLLIN};

			if (send(fd, out, size, 0) < 0 && errno != ECONNREFUSED)
				die("datagram %llu: %s", (unsigned long long)i, strerror(errno));
			if (poll(&p, 1, UDP_MS) > 0)
				n = recv(fd, in, sizeof(in), MSG_DONTWAIT);
			/* An answer to an earlier try. */
			if (n >= 8 && size >= 8 && memcmp(in, out, 8) != 0)
				n = -1;
		}
		if (n < 0)
			die("datagram %llu: no answer", (unsigned long long)i);
		if ((size_t)n != size)
			die("datagram %llu: %zd bytes came back of %zu", (unsigned long long)i, n,
			    size);
		compare(in, size, i * CHUNK);
	}
}

static void timed_out(int sig)
{
	static const char text[] = "netprobe: no end in time\n";

	(void)sig;
	(void)!write(STDOUT_FILENO, text, sizeof(text) - 1);
	_exit(1);
}

int main(int argc, char **argv)
{
	const char *limit = getenv("NETPROBE_LIMIT");

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 3 && !strcmp(argv[1], "serve")) {
		serve((uint16_t)number(argv[2]));
		return 1;
	}
	if (argc < 5) {
		(void)fputs(
		    "usage: netprobe serve PORT | tcp HOST PORT BYTES [open] | udp HOST PORT "
		    "SIZE COUNT\n",
		    stderr);
		return 2;
	}
	whom = argv[2];
	(void)signal(SIGALRM, timed_out);
	(void)alarm(limit ? (unsigned)number(limit) : 60);
	if (!strcmp(argv[1], "tcp") && (argc == 5 || (argc == 6 && !strcmp(argv[5], "open"))))
		stream_client(connected(argv[2], (uint16_t)number(argv[3]), SOCK_STREAM),
			      number(argv[4]), argc == 6);
	else if (!strcmp(argv[1], "udp") && argc == 6)
		datagram_client(connected(argv[2], (uint16_t)number(argv[3]), SOCK_DGRAM),
				number(argv[4]), number(argv[5]));
	else
		die("%s with %d arguments", argv[1], argc - 2);
	(void)puts("ok");
	return 0;
}
