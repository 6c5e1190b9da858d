/* SPDX-License-Identifier: Apache-2.0 */
/* See client.h. */
#include "runtime/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/fd.h"
#include "mux/proxy.h"
#include "runtime/state.h"

#define ANSWER_MAX (1u << 20)

static int dial(int dir)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	auto_fd s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (s < 0)
		return -errno;
	/* By descriptor: the path of a state directory may be longer than an address. */
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/" STATE_SOCK, dir);
	if (connect(s, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return errno == ENOENT ? -ECONNREFUSED : -errno;
	return fd_take(&s);
}

static int transfer(int sock, const char *text, char **ret, size_t *ret_len)
{
	uint8_t head[PROXY_HEADER_LEN];
	struct proxy_header h;
	size_t len = strlen(text);
	auto_free char *buf = NULL;
	ssize_t n;
	int rc;

	proxy_put_header(head, PROXY_COMMAND, PROXY_HUSK, false, (uint32_t)len);
	rc = fd_write_full(sock, head, sizeof(head));
	if (rc == 0)
		rc = fd_write_full(sock, text, len);
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

int client_call(int dir, struct json_object *request, int *ret_status, struct err *e)
{
	auto_fd sock = dial(dir);
	auto_free char *text = NULL;
	auto_json o = NULL;
	size_t len = 0;
	int rc;

	*ret_status = 0;
	if (sock < 0)
		return sock == -ECONNREFUSED ? sock : err_sys(e, sock, "connecting to the sandbox");
	rc = transfer(sock, json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN), &text,
		      &len);
	if (rc == -ECONNREFUSED || rc == -EPIPE || rc == -ECONNRESET)
		return -ECONNREFUSED;
	if (rc < 0)
		return err_sys(e, rc, "talking to the sandbox");
	if (len == 0)
		return 0;
	rc = json_parse(text, len, "the sandbox's answer", &o, e);
	if (rc < 0)
		return rc;
	if (!json_at(o, "message") && !json_at(o, "msg"))
		return 0;
	*ret_status = (int)json_i64(o, "status", 1);
	return err_set(e, -EREMOTEIO, "%s", json_str(o, "message", json_str(o, "msg", "refused")));
}
