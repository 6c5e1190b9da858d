/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work that a container or a driver could hold up runs in a forked child: reading the command line
 * of a process whose memory lies on a FUSE file system never returns if its owner wishes so. The
 * child writes one line of JSON to a pipe: the reply, or {"message": …} after an '!'.
 */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/child.h"
#include "base/buf.h"
#include "base/fd.h"

#define JOB_REPLY_MAX (8u << 20)

struct job {
	struct list node;
	struct agent *a;
	struct ev ev;
	int fd;
	uint32_t req;
	struct buf out;
};

static void job_free(struct job *j)
{
	ev_del(j->a, &j->ev);
	fd_close(&j->fd);
	list_del(&j->node);
	buf_free(&j->out);
	free(j);
}

static void job_answer(struct job *j)
{
	struct err e = {0};
	char *text;

	if (!buf_extend(&j->out, 1))
		return calls_reply_err(j->a, j->req, NULL, 1);
	text = (char *)j->out.data;
	text[j->out.len - 1] = '\0';
	if (text[0] == '{')
		return calls_reply_ok(j->a, j->req, text);
	(void)err_set(&e, -EIO, "%s", text[0] == '!' ? text + 1 : "the work's process has died");
	calls_reply_err(j->a, j->req, &e, 1);
}

static void job_event(struct ev *ev, uint32_t events)
{
	struct job *j = container_of(ev, struct job, ev);
	uint8_t *p = buf_extend(&j->out, 4096);
	ssize_t n;

	(void)events;
	n = p && j->out.len <= JOB_REPLY_MAX ? read(j->fd, p, 4096) : 0;
	if (p)
		j->out.len -= n > 0 ? 4096 - (size_t)n : 4096;
	if (n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN)))
		return;
	job_answer(j);
	job_free(j);
}

static NORETURN void job_child(int fd, job_fn fn, void *arg)
{
	struct json_object *reply = json_object_new_object();
	struct err e = {0};
	const char *text;

	if (!reply)
		_exit(1); /* the child's end: the agent sees the pipe closed */
	if (fn(arg, reply, &e) == 0) {
		text = json_object_to_json_string_ext(reply, JSON_C_TO_STRING_PLAIN |
								 JSON_C_TO_STRING_NOSLASHESCAPE);
	} else {
		(void)!write(fd, "!", 1);
		text = e.msg;
	}
	_exit(fd_write_full(fd, text, strlen(text)) < 0); /* the child's end */
}

int job_start(struct agent *a, uint32_t req, job_fn fn, void *arg, struct err *e)
{
	struct job *j = calloc(1, sizeof(*j));
	auto_fd rd = -1;
	auto_fd wr = -1;
	int fds[2];
	pid_t pid;

	if (!j)
		return err_set(e, -ENOMEM, "out of memory");
	list_init(&j->node);
	j->a = a;
	j->req = req;
	j->ev = (struct ev){-1, job_event};
	j->fd = -1;
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0) {
		free(j);
		return err_sys(e, -errno, "pipe");
	}
	rd = fds[0];
	wr = fds[1];
	if (ev_add(a, &j->ev, rd, EPOLLIN) < 0) {
		free(j);
		return err_set(e, -ENOMEM, "epoll");
	}
	pid = fork();
	if (pid == 0) {
		/* Other processes' pipes must not stay open because this one is busy. */
		(void)dup2(wr, 3);
		(void)close_range(4, ~0u, 0);
		(void)fd_set_nonblock(3, 0);
		signals_restore();
		job_child(3, fn, arg);
	}
	j->fd = fd_take(&rd);
	list_add_tail(&a->jobs, &j->node);
	if (pid < 0) {
		int rc = -errno;

		job_free(j);
		return err_sys(e, rc, "fork");
	}
	return 0;
}
