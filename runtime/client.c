/* SPDX-License-Identifier: Apache-2.0 */
/* See client.h. */
#include "runtime/client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "base/fd.h"
#include "mux/proxy.h"
#include "runtime/state.h"

#define ANSWER_MAX (1u << 20)

struct client_limits client_limits = {.quiet_ms = 15000, .ping_ms = 45000};

static int silent(struct err *e)
{
	return err_set(e, -ETIMEDOUT,
		       "the sandbox process has not answered for %d seconds: it is stopped, or "
		       "starved",
		       client_limits.ping_ms / 1000);
}

int client_dial(int dir, struct err *e)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	auto_fd s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct timeval limit = {.tv_sec = client_limits.ping_ms / 1000,
				      .tv_usec = client_limits.ping_ms % 1000 * 1000};

	if (s < 0)
		return err_sys(e, -errno, "connecting to the sandbox");
	/* It bounds connect(), too, where nobody accepts. */
	(void)setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	/* By descriptor: the path of a state directory may be longer than an address. */
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/" STATE_SOCK, dir);
	if (connect(s, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd_take(&s);
	if (errno == ENOENT || errno == ECONNREFUSED)
		return -ECONNREFUSED;
	return errno == EAGAIN ? silent(e) : err_sys(e, -errno, "connecting to the sandbox");
}

static int send_command(int sock, const char *text, const int *fds, unsigned nfds)
{
	uint8_t head[PROXY_HEADER_LEN];
	size_t len = strlen(text);
	ssize_t n;
	int rc;

	proxy_put_header(head, PROXY_COMMAND, PROXY_HUSK, false, (uint32_t)len);
	n = fd_send(sock, head, sizeof(head), fds, nfds);
	rc = n < 0 ? (int)n : fd_write_full(sock, head + n, sizeof(head) - (size_t)n);
	return rc == 0 ? fd_write_full(sock, text, len) : rc;
}

/* 1 = there is something to read, 0 = not within @ms. */
static int readable(int sock, int ms)
{
	struct pollfd p = {.fd = sock, .events = POLLIN};
	int n;

	do { /* anew after a signal: it is no clock */
		n = poll(&p, 1, ms);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* Until there is an answer on @sock, or the sandbox process @dir is silent as a whole. */
static int await_answer(int dir, int sock, struct err *e)
{
	int rc;

	while ((rc = readable(sock, client_limits.quiet_ms)) == 0) {
		auto_fd other = client_dial(dir, e);

		if (other < 0)
			return other;
		rc = send_command(other, "{\"op\":\"ping\"}", NULL, 0);
		if (rc == 0)
			rc = readable(other, client_limits.ping_ms);
		if (rc < 0)
			return rc;
		/* The answer may have come meanwhile, and with it the process's end. */
		if (rc == 0 && readable(sock, 0) != 1)
			return silent(e);
	}
	return rc < 0 ? rc : 0;
}

static int transfer(int dir, int sock, const char *text, const int *fds, unsigned nfds, char **ret,
		    size_t *ret_len, struct err *e)
{
	uint8_t head[PROXY_HEADER_LEN];
	struct proxy_header h;
	auto_free char *buf = NULL;
	ssize_t n;
	int rc = send_command(sock, text, fds, nfds);

	if (rc == 0)
		rc = await_answer(dir, sock, e);
	if (rc < 0)
		return rc;
	n = fd_read_full(sock, head, sizeof(head));
	if (n < 0)
		return (int)n;
	if (n < (ssize_t)sizeof(head))
		return -ECONNREFUSED; /* it ended */
	rc = proxy_get_header(head, sizeof(head), &h);
	if (rc != 1 || h.header_len != sizeof(head) || h.payload_len > ANSWER_MAX)
		return -EPROTO;
	buf = calloc(1, h.payload_len + 1);
	if (!buf)
		return -ENOMEM;
	n = fd_read_full(sock, buf, h.payload_len);
	if (n < 0)
		return (int)n;
	if ((size_t)n < h.payload_len)
		return -ECONNREFUSED;
	*ret_len = h.payload_len;
	*ret = ptr_take(buf);
	return 0;
}

int client_ask(int dir, int sock, struct json_object *request, const int *fds, unsigned nfds,
	       struct json_object **ret, int *ret_status, struct err *e)
{
	auto_free char *text = NULL;
	auto_json o = NULL;
	size_t len = 0;
	int rc;

	*ret_status = 0;
	*ret = NULL;
	rc = transfer(dir, sock, json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN),
		      fds, nfds, &text, &len, e);
	if (rc < 0 && e->code)
		return rc;
	if (rc == -ECONNREFUSED || rc == -EPIPE || rc == -ECONNRESET)
		return -ECONNREFUSED;
	if (rc < 0)
		return err_sys(e, rc, "talking to the sandbox");
	if (len == 0)
		return 0;
	rc = json_parse(text, len, "the sandbox's answer", &o, e);
	if (rc < 0)
		return rc;
	if (!json_at(o, "message") && !json_at(o, "msg")) {
		*ret = ptr_take(o);
		return 0;
	}
	*ret_status = (int)json_i64(o, "status", 1);
	return err_set(e, json_flag(o, "ends", false) ? -ESHUTDOWN : -EREMOTEIO, "%s",
		       json_str(o, "message", json_str(o, "msg", "refused")));
}

int client_query(int dir, struct json_object *request, struct json_object **ret, int *ret_status,
		 struct err *e)
{
	auto_fd sock = client_dial(dir, e);

	*ret_status = 0;
	*ret = NULL;
	return sock < 0 ? sock : client_ask(dir, sock, request, NULL, 0, ret, ret_status, e);
}

int client_call(int dir, struct json_object *request, int *ret_status, struct err *e)
{
	auto_json answer = NULL;

	return client_query(dir, request, &answer, ret_status, e);
}
