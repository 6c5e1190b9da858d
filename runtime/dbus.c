/* SPDX-License-Identifier: Apache-2.0 */
/* A client of the D-Bus system bus. See dbus.h; D-Bus Specification, "Authentication Protocol". */
#include "runtime/dbus.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/fd.h"

#define KEPT_MAX 32u /* signals that come before somebody waits for them */

#define BUS	 "org.freedesktop.DBus"

struct packet {
	uint8_t *buf;
	size_t len;
};

struct dbus {
	int fd;
	uint64_t until_ns;
	uint32_t serial;
	struct packet last; /* of the reply that was returned */
	struct packet kept[KEPT_MAX];
	unsigned kept_cnt;
	char error[128];
};

static int wait_for(struct dbus *d, short events)
{
	for (;;) {
		struct pollfd p = {.fd = d->fd, .events = events};
		uint64_t now = clock_ns();
		int n;

		if (now >= d->until_ns)
			return -ETIMEDOUT;
		n = poll(&p, 1, (int)MIN((d->until_ns - now) / NS_PER_MS + 1, 60000));
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

static int send_all(struct dbus *d, const void *buf, size_t len)
{
	const uint8_t *p = buf;

	while (len) {
		ssize_t n = send(d->fd, p, len, MSG_NOSIGNAL);

		if (n >= 0) {
			p += n;
			len -= (size_t)n;
			continue;
		}
		if (errno == EAGAIN) {
			int rc = wait_for(d, POLLOUT);

			if (rc < 0)
				return rc;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

static int recv_all(struct dbus *d, void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len) {
		ssize_t n = recv(d->fd, p, len, 0);

		if (n == 0)
			return -ECONNRESET;
		if (n > 0) {
			p += n;
			len -= (size_t)n;
			continue;
		}
		if (errno == EAGAIN) {
			int rc = wait_for(d, POLLIN);

			if (rc < 0)
				return rc;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

/* ---- authentication -------------------------------------------------------------------------- */

/* A line that ends with "\r\n", without it. */
static int recv_line(struct dbus *d, char *buf, size_t cap)
{
	for (size_t n = 0; n < cap; n++) {
		int rc = recv_all(d, buf + n, 1);

		if (rc < 0)
			return rc;
		if (buf[n] == '\n' && n && buf[n - 1] == '\r') {
			buf[n - 1] = '\0';
			return 0;
		}
	}
	return -EPROTO;
}

/* EXTERNAL: the kernel tells the bus who we are; the text is the uid's digits in hex. */
static int authenticate(struct dbus *d, struct err *e)
{
	char uid[16], line[256];
	size_t n = 0;
	int rc;

	(void)snprintf(uid, sizeof(uid), "%u", (unsigned)geteuid());
	line[n++] = '\0';
	n += (size_t)snprintf(line + n, sizeof(line) - n, "AUTH EXTERNAL ");
	for (const char *p = uid; *p; p++)
		n += (size_t)snprintf(line + n, sizeof(line) - n, "%02x", (unsigned)*p);
	n += (size_t)snprintf(line + n, sizeof(line) - n, "\r\n");
	rc = send_all(d, line, n);
	if (rc == 0)
		rc = recv_line(d, line, sizeof(line));
	if (rc < 0)
		return err_sys(e, rc, "D-Bus: authentication");
	if (strncmp(line, "OK ", 3) != 0)
		return err_set(e, -EACCES, "D-Bus: the bus refuses us: %.100s", line);
	rc = send_all(d, "BEGIN\r\n", 7);
	return rc < 0 ? err_sys(e, rc, "D-Bus: authentication") : 0;
}

/* ---- messages -------------------------------------------------------------------------------- */

static void packet_free(struct packet *p)
{
	free(p->buf);
	memset(p, 0, sizeof(*p));
}

static int recv_packet(struct dbus *d, struct packet *ret)
{
	uint8_t head[DBUS_HEAD_LEN];
	int rc = recv_all(d, head, sizeof(head));

	if (rc == 0)
		rc = dbus_msg_len(head, &ret->len);
	if (rc < 0)
		return rc;
	ret->buf = malloc(ret->len);
	if (!ret->buf)
		return -ENOMEM;
	memcpy(ret->buf, head, sizeof(head));
	rc = recv_all(d, ret->buf + sizeof(head), ret->len - sizeof(head));
	if (rc < 0)
		packet_free(ret);
	return rc;
}

static void keep(struct dbus *d, struct packet *p)
{
	/* The oldest gives way: nobody asked for so many. */
	if (d->kept_cnt == KEPT_MAX) {
		packet_free(&d->kept[0]);
		memmove(d->kept, d->kept + 1, (KEPT_MAX - 1) * sizeof(d->kept[0]));
		d->kept_cnt--;
	}
	d->kept[d->kept_cnt++] = *p;
	memset(p, 0, sizeof(*p));
}

/* The reply to @serial, in d->last. */
static int await_reply(struct dbus *d, uint32_t serial, struct dbus_msg *m)
{
	for (;;) {
		struct packet p = {0};
		int rc = recv_packet(d, &p);

		if (rc < 0)
			return rc;
		rc = dbus_msg_parse(m, p.buf, p.len);
		if (rc == 0 && m->type == DBUS_SIGNAL)
			keep(d, &p);
		if (rc == 0 && m->reply_serial == serial &&
		    (m->type == DBUS_RETURN || m->type == DBUS_ERROR)) {
			packet_free(&d->last);
			d->last = p;
			return 0;
		}
		packet_free(&p);
		if (rc < 0)
			return rc;
	}
}

int dbus_call(struct dbus *d, struct dbus_call *c, const struct dbus_out *body,
	      struct dbus_msg *ret, struct err *e)
{
	CLEANUP(dbus_out_free) struct dbus_out head = {0};
	struct dbus_msg m;
	int rc;

	d->error[0] = '\0';
	c->serial = ++d->serial;
	dbus_put_call(&head, c, body ? body->len : 0);
	if (head.failed || (body && body->failed))
		return err_set(e, -EMSGSIZE, "D-Bus: %s: too large a message", c->member);
	rc = send_all(d, head.buf, head.len);
	if (rc == 0 && body)
		rc = send_all(d, body->buf, body->len);
	if (rc == 0)
		rc = await_reply(d, c->serial, &m);
	if (rc < 0)
		return err_sys(e, rc, "D-Bus: %s", c->member);
	if (m.type == DBUS_ERROR) {
		const char *text = m.sig && m.sig[0] == 's' ? dbus_get_str(&m.body) : "";

		(void)snprintf(d->error, sizeof(d->error), "%s", m.error ? m.error : "");
		return err_set(e, -EREMOTEIO, "%s: %.300s (%.100s)", c->member, text, d->error);
	}
	if (ret)
		*ret = m;
	return 0;
}

const char *dbus_error_name(const struct dbus *d)
{
	return d->error;
}

int dbus_await(struct dbus *d, const char *iface, const char *member,
	       int (*take)(void *ctx, struct dbus_msg *m), void *ctx, struct err *e)
{
	int rc = 0;

	while (rc == 0) {
		struct packet p = {0};
		struct dbus_msg m;

		if (d->kept_cnt) {
			p = d->kept[0];
			memmove(d->kept, d->kept + 1, --d->kept_cnt * sizeof(d->kept[0]));
		} else {
			rc = recv_packet(d, &p);
		}
		if (rc == 0)
			rc = dbus_msg_parse(&m, p.buf, p.len);
		if (rc == 0 && m.type == DBUS_SIGNAL && m.iface && m.member &&
		    !strcmp(m.iface, iface) && !strcmp(m.member, member))
			rc = take(ctx, &m);
		packet_free(&p);
	}
	return rc < 0 ? err_sys(e, rc, "D-Bus: waiting for %s", member) : 0;
}

int dbus_open(struct dbus **ret, const char *path, uint64_t until_ns, struct err *e)
{
	struct dbus_call hello = {.dest = BUS,
				  .path = "/org/freedesktop/DBus",
				  .iface = BUS,
				  .member = "Hello",
				  .sig = ""};
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = 10};
	struct dbus *d = calloc(1, sizeof(*d));
	int rc;

	if (!d)
		return err_set(e, -ENOMEM, "D-Bus: out of memory");
	d->until_ns = until_ns;
	/* Connecting blocks, with an end, while others fill the queue of the bus. */
	d->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	rc = d->fd < 0 ? -errno : 0;
	if (rc == 0)
		(void)setsockopt(d->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if ((size_t)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path) >= sizeof(sa.sun_path))
		rc = -ENAMETOOLONG;
	if (rc == 0 && connect(d->fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
		rc = -errno;
	if (rc == 0)
		rc = fd_set_nonblock(d->fd, 1);
	if (rc < 0)
		(void)err_sys(e, rc, "D-Bus: '%s'", path);
	if (rc == 0)
		rc = authenticate(d, e);
	if (rc == 0)
		rc = dbus_call(d, &hello, NULL, NULL, e);
	if (rc < 0) {
		dbus_close(d);
		return rc;
	}
	*ret = d;
	return 0;
}

void dbus_close(struct dbus *d)
{
	if (!d)
		return;
	fd_close(&d->fd);
	packet_free(&d->last);
	for (unsigned i = 0; i < d->kept_cnt; i++)
		packet_free(&d->kept[i]);
	free(d);
}
