/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket's server. See control.h. Loop thread.
 *
 *   RECV ─ packet ─▶ WORK ─ control_answer() ─▶ SEND ─▶ RECV …        end of file, error ─▶ gone
 *
 * A client has one request under way at a time. It may go away meanwhile: the request goes on, and its
 * answer finds nobody. Only users who can open the socket get here (mode 0600): what they ask for is
 * checked, but they are not the guest.
 */
#include "vmm/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"

#define CLIENTS_MAX 16u

struct control {
	struct control_config cfg;
	int fd;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct loop_op accept;
	struct list clients;
	unsigned client_cnt;
	bool closing;
};

struct control_client {
	struct control *c;
	struct list node;
	int fd, got_fd;
	struct loop_op op;
	struct loop_timer timer;
	void (*waiting)(struct control_client *cl);
	struct json_object *reply;
	struct iovec iov;
	struct msghdr msg;
	_Alignas(struct cmsghdr) char ctl[CMSG_SPACE(sizeof(int))];
	char buf[CONTROL_PACKET_MAX + 1];
};

/* ---- where ---------------------------------------------------------------------------------------
 */
int control_path(const char *where, bool make, char *ret, size_t cap, struct err *e)
{
	const char *xdg = geteuid() == 0 ? NULL : getenv("XDG_RUNTIME_DIR");
	int n;

	if (strchr(where, '/')) {
		n = snprintf(ret, cap, "%s", where);
	} else if (!*where || where[0] == '.') {
		return err_set(e, -EINVAL, "control socket '%s': neither a path nor a name", where);
	} else if (geteuid() && !xdg) {
		return err_set(e, -ENOENT,
			       "control socket '%s': a name needs XDG_RUNTIME_DIR; give a path",
			       where);
	} else {
		n = snprintf(ret, cap, "%s/vmm", xdg ? xdg : "/run");
		if (make && n > 0 && (size_t)n < cap && mkdir(ret, 0700) < 0 && errno != EEXIST) {
			n = -errno;
			return err_sys(e, n, "control socket '%s': %s", where, ret);
		}
		n = snprintf(ret, cap, "%s/vmm/%s.sock", xdg ? xdg : "/run", where);
	}
	if (n < 0 || (size_t)n >= cap)
		return err_set(e, -ENAMETOOLONG, "control socket '%s': the path is too long",
			       where);
	return 0;
}

/* ---- clients -------------------------------------------------------------------------------------
 */
static void client_gone(struct control_client *cl)
{
	list_del(&cl->node);
	cl->c->client_cnt--;
	fd_close(&cl->fd);
	fd_close(&cl->got_fd);
	json_object_put(cl->reply);
	free(cl);
}

static void accept_next(struct control *c)
{
	if (!c->closing && !c->accept.busy && c->client_cnt < CLIENTS_MAX)
		loop_accept(c->cfg.loop, &c->accept, c->fd);
}

static void client_end(struct control_client *cl)
{
	struct control *c = cl->c;

	client_gone(cl);
	accept_next(c);
}

static void receive(struct control_client *cl);

static void sent(struct loop_op *op, int res, unsigned flags)
{
	struct control_client *cl = container_of(op, struct control_client, op);

	(void)flags;
	json_object_put(cl->reply);
	cl->reply = NULL;
	if (res < 0 || cl->c->closing)
		client_end(cl);
	else
		receive(cl);
}

void control_answer(struct control_client *cl, struct json_object *result, const struct err *e)
{
	struct json_object *o = json_object_new_object();
	bool ok = !e || !e->code;
	size_t len = 0;

	(void)json_object_object_add(o, "ok", json_object_new_boolean(ok));
	if (ok)
		(void)json_object_object_add(o, "result",
					     result ? result : json_object_new_object());
	else
		(void)json_object_object_add(o, "error", json_object_new_string(e->msg));
	if (!ok)
		json_object_put(result);
	fd_close(&cl->got_fd);
	cl->reply = o;
	cl->iov.iov_base =
	    (void *)(uintptr_t)json_object_to_json_string_length(o, JSON_C_TO_STRING_PLAIN, &len);
	cl->iov.iov_len = len;
	cl->msg = (struct msghdr){.msg_iov = &cl->iov, .msg_iovlen = 1};
	cl->op.done = sent;
	cl->op.what = "control, answer";
	loop_sendmsg(cl->c->cfg.loop, &cl->op, cl->fd, &cl->msg, MSG_NOSIGNAL);
}

static void keep_fd(struct control_client *cl)
{
	struct cmsghdr *h = CMSG_FIRSTHDR(&cl->msg);

	if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS &&
	    h->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&cl->got_fd, CMSG_DATA(h), sizeof(int));
}

static struct json_object *parse(const char *text, size_t len)
{
	struct json_tokener *t = json_tokener_new();
	struct json_object *o = NULL;

	if (!t)
		return NULL;
	json_tokener_set_flags(t, JSON_TOKENER_STRICT);
	o = json_tokener_parse_ex(t, text, (int)len + 1);
	if (json_tokener_get_error(t) != json_tokener_success || strlen(text) != len ||
	    !json_object_is_type(o, json_type_object)) {
		json_object_put(o);
		o = NULL;
	}
	json_tokener_free(t);
	return o;
}

static void received(struct loop_op *op, int res, unsigned flags)
{
	struct control_client *cl = container_of(op, struct control_client, op);
	struct json_object *req;
	struct err e = {0};

	(void)flags;
	if (res > 0)
		keep_fd(cl);
	if (res <= 0 || cl->c->closing) {
		client_end(cl);
		return;
	}
	cl->buf[res] = 0;
	req = cl->msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ? NULL : parse(cl->buf, (size_t)res);
	if (req) {
		control_do(cl, req);
		json_object_put(req);
		return;
	}
	err_set(&e, -EINVAL, "a request is one JSON object of at most %u bytes",
		CONTROL_PACKET_MAX);
	control_answer(cl, NULL, &e);
}

static void receive(struct control_client *cl)
{
	cl->iov = (struct iovec){cl->buf, CONTROL_PACKET_MAX};
	cl->msg = (struct msghdr){.msg_iov = &cl->iov,
				  .msg_iovlen = 1,
				  .msg_control = cl->ctl,
				  .msg_controllen = sizeof(cl->ctl)};
	cl->op.done = received;
	cl->op.what = "control, request";
	loop_recvmsg(cl->c->cfg.loop, &cl->op, cl->fd, &cl->msg, MSG_CMSG_CLOEXEC);
}

const struct control_config *control_of(const struct control_client *cl)
{
	return &cl->c->cfg;
}

int control_take_fd(struct control_client *cl)
{
	return fd_take(&cl->got_fd);
}

int control_peek_fd(const struct control_client *cl)
{
	return cl->got_fd;
}

static void waited(struct loop_op *op, int res, unsigned flags)
{
	struct control_client *cl = container_of(op, struct control_client, timer.op);
	void (*fn)(struct control_client * client) = cl->waiting;

	(void)res;
	(void)flags;
	cl->waiting = NULL;
	if (cl->c->closing)
		client_end(cl);
	else
		fn(cl);
}

void control_await_memory(struct control_client *cl, uint64_t ns,
			  void (*fn)(struct control_client *cl))
{
	cl->waiting = fn;
	cl->timer.op.done = waited;
	cl->timer.op.what = "control, memory";
	loop_timer(cl->c->cfg.loop, &cl->timer, clock_ns() + ns);
}

void control_memory_changed(struct control *c)
{
	if (!c || c->closing)
		return;
	list_for_each (pos, &c->clients)
		loop_cancel(c->cfg.loop, &list_entry(pos, struct control_client, node)->timer.op);
}

/* ---- the socket ----------------------------------------------------------------------------------
 */
static void accepted(struct loop_op *op, int res, unsigned flags)
{
	struct control *c = container_of(op, struct control, accept);
	struct control_client *cl;

	(void)flags;
	if (res >= 0 && (c->closing || !(cl = calloc(1, sizeof(*cl))))) {
		fd_close(&res);
	} else if (res >= 0) {
		cl->c = c;
		cl->fd = res;
		cl->got_fd = -1;
		list_add_tail(&c->clients, &cl->node);
		c->client_cnt++;
		receive(cl);
	} else if (res != -ECANCELED) {
		log_warn("control socket: %s", strerrordesc_np(-res));
	}
	if (res != -ECANCELED && res != -EBADF && res != -EINVAL)
		accept_next(c);
}

/* Is somebody there? A socket of a process that was killed stays. */
static bool is_answered(const struct sockaddr_un *sa)
{
	auto_fd fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	return fd < 0 || connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) == 0 ||
	       errno != ECONNREFUSED;
}

static int listen_at(struct control *c, struct err *e)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct stat st;
	mode_t mask;
	int rc;

	(void)strcpy(sa.sun_path, c->path);
	c->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (c->fd < 0) {
		rc = -errno;
		return err_sys(e, rc, "control socket");
	}
	if (lstat(c->path, &st) == 0) {
		if (!S_ISSOCK(st.st_mode))
			return err_set(e, -EEXIST, "control socket '%s': there is something else",
				       c->path);
		if (is_answered(&sa))
			return err_set(e, -EADDRINUSE,
				       "control socket '%s': another machine listens there",
				       c->path);
		(void)unlink(c->path);
	}
	mask = umask(0177);
	rc = bind(c->fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0 ? -errno : 0;
	(void)umask(mask);
	if (rc == 0 && listen(c->fd, CLIENTS_MAX) < 0)
		rc = -errno;
	return rc ? err_sys(e, rc, "control socket '%s'", c->path) : 0;
}

int control_new(struct control **ret, const char *where, const struct control_config *cfg,
		struct err *e)
{
	struct control *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return err_set(e, -ENOMEM, "control socket: out of memory");
	c->cfg = *cfg;
	c->fd = -1;
	list_init(&c->clients);
	c->accept.done = accepted;
	c->accept.what = "control, clients";
	rc = control_path(where, true, c->path, sizeof(c->path), e);
	if (rc == 0)
		rc = listen_at(c, e);
	if (rc < 0) {
		fd_close(&c->fd);
		free(c);
		return rc;
	}
	accept_next(c);
	*ret = c;
	return 0;
}

void control_close(struct control *c)
{
	if (!c)
		return;
	c->closing = true;
	(void)unlink(c->path);
	loop_cancel(c->cfg.loop, &c->accept);
	list_for_each (pos, &c->clients) {
		struct control_client *cl = list_entry(pos, struct control_client, node);

		loop_cancel(c->cfg.loop, &cl->op);
		loop_cancel(c->cfg.loop, &cl->timer.op);
	}
}

void control_free(struct control *c)
{
	if (!c)
		return;
	/* Those whose request had begun something that did not come to its end. */
	while (!list_empty(&c->clients))
		client_gone(list_first(&c->clients, struct control_client, node));
	fd_close(&c->fd);
	free(c);
}
