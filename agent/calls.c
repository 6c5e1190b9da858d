/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of the host: dispatch and answers. docs/agent-protocol.md. Loop thread. */
#include <errno.h>
#include <json-c/json.h>
#include <linux/random.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "agent/container.h"
#include "agent/dial.h"
#include "agent/dns.h"
#include "agent/net.h"
#include "base/clock.h"
#include "base/fd.h"

#define ENTROPY_MAX 4096

void calls_reply_ok(struct agent *a, uint32_t id, const char *json)
{
	if (id && link_reply(a->link, id, true, json) == -ENOMEM)
		agent_stop(a, "out of memory for a reply");
}

void calls_reply_err(struct agent *a, uint32_t id, const struct err *e, int status)
{
	calls_reply_fail(a, id, e, status, false);
}

void calls_reply_fail(struct agent *a, uint32_t id, const struct err *e, int status, bool built)
{
	struct json_object *o = json_object_new_object();
	const char *msg = e && e->code ? e->msg : "out of memory";

	if (o) {
		(void)json_object_object_add(o, "message", json_object_new_string(msg));
		(void)json_object_object_add(o, "status", json_object_new_int(status));
		if (built)
			(void)json_object_object_add(o, "built", json_object_new_boolean(true));
	}
	if (id && link_reply(a->link, id, false,
			     o ? json_object_to_json_string_ext(
				     o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)
			       : NULL) == -ENOMEM)
		agent_stop(a, "out of memory for a reply");
	json_object_put(o);
}

static int add_entropy(const char *text, struct err *e)
{
	auto_free unsigned char *raw = NULL;
	auto_free struct rand_pool_info *info = NULL;
	auto_fd fd = -1;
	size_t len;
	int rc = js_base64(text, &raw, &len);

	if (rc < 0 || len > ENTROPY_MAX)
		return err_set(e, -EINVAL, "entropy: not base64 of at most %d bytes", ENTROPY_MAX);
	info = calloc(1, sizeof(*info) + len);
	fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);
	if (!info || fd < 0)
		return err_sys(e, info ? -errno : -ENOMEM, "entropy");
	info->entropy_count = (int)len * 8;
	info->buf_size = (int)len;
	memcpy(info->buf, raw, len);
	if (ioctl(fd, RNDADDENTROPY, info) < 0)
		return err_sys(e, -errno, "entropy");
	/* At once, not with the next interval: a clone must not share a byte with its template. */
	(void)ioctl(fd, RNDRESEEDCRNG);
	return 0;
}

static int start_pod(struct agent *a, struct json_object *o, struct err *e)
{
	const char *hostname = NULL, *entropy = NULL;
	uint64_t ns = 0;
	int rc = js_str(o, "hostname", &hostname, e);

	rc = rc ? rc : js_str(o, "entropy", &entropy, e);
	rc = rc ? rc : js_u64(o, "time_ns", &ns, e);
	if (rc == 0 && a->started)
		rc = err_set(e, -EALREADY, "the pod has been started");
	if (rc == 0 && entropy)
		rc = add_entropy(entropy, e);
	if (rc == 0 && ns) {
		struct timespec ts = {.tv_sec = (time_t)(ns / NS_PER_SEC),
				      .tv_nsec = (long)(ns % NS_PER_SEC)};

		if (clock_settime(CLOCK_REALTIME, &ts) < 0)
			rc = err_sys(e, -errno, "time_ns");
	}
	if (rc == 0 && hostname && sethostname(hostname, strlen(hostname)) < 0)
		rc = err_sys(e, -errno, "hostname '%s'", hostname);
	if (rc == 0)
		a->started = true;
	return rc;
}

static int needs_pod(struct agent *a, struct err *e)
{
	return a->started ? 0 : err_set(e, -EINVAL, "the pod has not been started");
}

void calls_request(void *ctx, uint32_t id, uint32_t cmd, const char *json, size_t len)
{
	struct agent *a = ctx;
	auto_json o = NULL;
	struct err e = {0};
	void (*fn)(struct agent *, uint32_t, struct json_object *) = NULL;
	int rc = 0;

	o = len ? NULL : json_object_new_object();
	if (len)
		rc = js_parse(json, len, &o, &e);
	if (rc == 0 && !o)
		rc = err_set(&e, -ENOMEM, "out of memory");
	if (rc == 0 && a->destroying)
		rc = err_set(&e, -ESHUTDOWN, "the pod is being destroyed");
	if (rc < 0) {
		calls_reply_err(a, id, &e, 1);
		return;
	}
	switch (cmd) {
	case LINK_STARTPOD:
		rc = start_pod(a, o, &e);
		break;
	case LINK_PING:
		break;
	case LINK_DESTROYPOD:
		a->destroying = true;
		break;
	case LINK_NEWCONTAINER:
		fn = container_new;
		rc = needs_pod(a, &e);
		break;
	case LINK_DNSANSWER:
		fn = dns_answer;
		break;
	case LINK_DIAL:
		fn = dial_request;
		rc = needs_pod(a, &e);
		break;
	case LINK_SETUPINTERFACE:
		fn = net_setup;
		rc = needs_pod(a, &e);
		break;
	case LINK_STARTCONTAINER:
		fn = container_start;
		break;
	case LINK_EXECCMD:
		fn = container_exec;
		break;
	case LINK_KILLCONTAINER:
		fn = container_kill;
		break;
	case LINK_WINSIZE:
		fn = container_winsize;
		break;
	case LINK_PSCONTAINER:
		fn = container_ps;
		break;
	case LINK_REMOVECONTAINER:
		fn = container_remove;
		break;
	case LINK_PAUSECONTAINER:
		fn = container_pause;
		break;
	case LINK_RESUMECONTAINER:
		fn = container_resume;
		break;
	case LINK_UPDATECONTAINER:
		fn = container_update;
		break;
	case LINK_STATSCONTAINER:
		fn = container_stats;
		break;
	default:
		rc = err_set(&e, -ENOSYS, "command %u: unknown", cmd);
	}
	if (rc < 0)
		calls_reply_err(a, id, &e, 1);
	else if (fn)
		fn(a, id, o);
	else
		calls_reply_ok(a, id, NULL);
}
