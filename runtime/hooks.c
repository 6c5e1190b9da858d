/* SPDX-License-Identifier: Apache-2.0 */
/* OCI hooks. See hooks.h. */
#include "runtime/hooks.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

#define OUTPUT_MAX 512u	  /* of a failing hook's output, in the message */
#define PIPE_HOLDS 65536u /* pipe(7) */

static char **strings(struct json_object *a, const char *first)
{
	size_t n = a ? json_object_array_length(a) : 0, k = 0;
	char **v = calloc(n + 2, sizeof(*v));

	if (!v)
		return NULL;
	if (!n && first)
		v[k++] = strdup(first);
	for (size_t i = 0; i < n; i++)
		v[k++] = strdup(json_object_get_string(json_object_array_get_idx(a, i)));
	return v;
}

static void strings_free(char ***v)
{
	for (char **p = *v; p && *p; p++)
		free(*p);
	free(*v);
}

/* In the child. Never returns. */
static void become(const char *path, char **argv, char **envp, const char *dir, int in, int out)
{
	sigset_t none;

	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0 ||
	    syscall(SYS_close_range, 3u, ~0u, 0u) < 0 || (dir && chdir(dir) < 0))
		_exit(126);
	(void)execve(path, argv, envp ? envp : environ);
	(void)dprintf(2, "%s: %s\n", path, strerror(errno));
	_exit(127);
}

static void keep_tail(char *tail, size_t *tail_len, const char *buf, size_t got)
{
	if (*tail_len + got > OUTPUT_MAX) {
		size_t keep = MIN(*tail_len, OUTPUT_MAX - MIN(got, OUTPUT_MAX));

		memmove(tail, tail + *tail_len - keep, keep);
		*tail_len = keep;
	}
	memcpy(tail + *tail_len, buf, got);
	*tail_len += got;
}

/*
 * Keeps the end of what the hook says until it ends or the time is over. 0 or -ETIMEDOUT. What it
 * leaves running may go on writing: after the hook's end no more is read than the pipe can have held.
 */
static int listen_to(int pidfd, int out, uint64_t until, char *tail, size_t *tail_len)
{
	char buf[OUTPUT_MAX];
	size_t late = 0;

	for (;;) {
		struct pollfd p[2] = {{.fd = pidfd, .events = POLLIN},
				      {.fd = out, .events = POLLIN}};
		uint64_t now = clock_ns();
		int wait = until == UINT64_MAX ? -1
			   : until <= now      ? 0
					       : (int)((until - now) / NS_PER_MS + 1);
		int n = poll(p, 2, wait);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n < 0)
			continue;
		if (!p[0].revents && (n == 0 || now >= until))
			return -ETIMEDOUT;
		if (p[1].revents && late < PIPE_HOLDS) {
			ssize_t got = read(out, buf, sizeof(buf));

			if (got > 0)
				keep_tail(tail, tail_len, buf, (size_t)got);
			else
				out = -1; /* poll ignores it */
			late += p[0].revents && got > 0 ? (size_t)got : 0;
			continue;
		}
		if (p[0].revents)
			return 0;
	}
}

static int state_fd(struct json_object *state)
{
	const char *text = json_object_to_json_string_ext(state, JSON_C_TO_STRING_PLAIN);
	int fd = memfd_create("state", MFD_CLOEXEC);
	int rc;

	if (fd < 0)
		return -errno;
	rc = text ? fd_write_full(fd, text, strlen(text)) : -ENOMEM;
	if (rc == 0 && lseek(fd, 0, SEEK_SET) < 0)
		rc = -errno;
	if (rc < 0)
		(void)close(fd);
	return rc < 0 ? rc : fd;
}

static int report(const char *path, int rc, int status, char *tail, size_t len, struct err *e)
{
	if (rc == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	while (len > 0 && (tail[len - 1] == '\n' || tail[len - 1] == ' '))
		len--;
	tail[len] = '\0';
	if (rc == -ETIMEDOUT)
		return err_set(e, -ECANCELED, "hook %s: took longer than its timeout", path);
	if (rc < 0)
		return err_sys(e, rc, "hook %s", path);
	return err_set(e, -ECANCELED, "hook %s: %s %d%s%s", path,
		       WIFEXITED(status) ? "exit status" : "ended by signal",
		       WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status), len ? ": " : "",
		       tail);
}

static int run_one(struct json_object *hook, struct json_object *state, const char *dir,
		   struct err *e)
{
	const char *path = json_str(hook, "path", "");
	int64_t timeout = json_i64(hook, "timeout", 0);
	CLEANUP(strings_free) char **argv = strings(json_at(hook, "args"), path);
	CLEANUP(strings_free) char **envp = NULL;
	char tail[2 * OUTPUT_MAX];
	size_t tail_len = 0;
	auto_fd in = state_fd(state);
	auto_fd out_r = -1;
	auto_fd out_w = -1;
	auto_fd pidfd = -1;
	int pipefd[2], status = 0, rc;
	pid_t pid;

	if (json_at(hook, "env"))
		envp = strings(json_at(hook, "env"), NULL);
	if (!argv || (json_at(hook, "env") && !envp))
		return err_set(e, -ENOMEM, "hook %s: out of memory", path);
	if (in < 0 || pipe2(pipefd, O_CLOEXEC) < 0)
		return err_sys(e, in < 0 ? in : -errno, "hook %s", path);
	out_r = pipefd[0];
	out_w = pipefd[1];
	pid = fork();
	if (pid < 0)
		return err_sys(e, -errno, "hook %s: fork", path);
	if (pid == 0)
		become(path, argv, envp, dir, in, out_w);
	fd_close(&out_w);
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0u);
	rc = pidfd < 0
		 ? -errno
		 : listen_to(pidfd, out_r,
			     timeout ? clock_ns() + (uint64_t)timeout * NS_PER_SEC : UINT64_MAX,
			     tail, &tail_len);
	if (rc < 0)
		(void)kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return report(path, rc, status, tail, tail_len, e);
}

int hooks_run(struct json_object *spec, const char *name, struct json_object *state,
	      const char *dir, struct err *e)
{
	struct json_object *hooks = json_at(json_at(spec, "hooks"), name);

	for (size_t i = 0; hooks && i < json_object_array_length(hooks); i++) {
		int rc = run_one(json_object_array_get_idx(hooks, i), state, dir, e);

		if (rc < 0)
			return err_wrap(e, "%s", name), rc;
	}
	return 0;
}
