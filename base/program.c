/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a program to its end. See program.h. */
#include "base/program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

#define OUTPUT_MAX 512u	  /* of a failing program's output, in the message */
#define PIPE_HOLDS 65536u /* pipe(7) */

/* In the child. Never returns. */
static NORETURN void become(const struct program *p, int in, int out)
{
	struct err e = {0};
	sigset_t none;

	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0 ||
	    syscall(SYS_close_range, 3u, ~0u, 0u) < 0 || (p->dir && chdir(p->dir) < 0))
		_exit(126); /* the forked child's own end */
	if (p->prepare && p->prepare(p->arg, &e) < 0) {
		(void)dprintf(2, "%s\n", e.msg);
		_exit(126); /* as above */
	}
	(void)execve(p->path, p->argv, p->envp ? p->envp : environ);
	(void)dprintf(2, "%s: %s\n", p->path, strerror(errno));
	_exit(127); /* as above */
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
 * Keeps the end of what the program says until it ends or the time is over. 0 or -ETIMEDOUT. What it
 * leaves running may go on writing: after its end no more is read than the pipe can have held.
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

static int input_fd(const struct program *p)
{
	int fd = memfd_create("input", MFD_CLOEXEC);
	int rc;

	if (fd < 0)
		return -errno;
	rc = p->input_len ? fd_write_full(fd, p->input, p->input_len) : 0;
	if (rc == 0 && lseek(fd, 0, SEEK_SET) < 0)
		rc = -errno;
	if (rc < 0)
		(void)close(fd);
	return rc < 0 ? rc : fd;
}

static int report(const struct program *p, int rc, int status, char *tail, size_t len,
		  struct err *e)
{
	if (rc == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	while (len > 0 && (tail[len - 1] == '\n' || tail[len - 1] == ' '))
		len--;
	tail[len] = '\0';
	if (rc == -ETIMEDOUT)
		return err_set(e, -ECANCELED, "%s: took longer than its timeout", p->what);
	if (rc < 0)
		return err_sys(e, rc, "%s", p->what);
	/* The message is one line. */
	for (size_t i = 0; i < len; i++)
		if (tail[i] == '\n')
			tail[i] = ' ';
	return err_set(e, -ECANCELED, "%s: %s %d%s%s", p->what,
		       WIFEXITED(status) ? "exit status" : "ended by signal",
		       WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status), len ? ": " : "",
		       tail);
}

int program_run(const struct program *p, struct err *e)
{
	uint64_t until = p->timeout_ns ? clock_ns() + p->timeout_ns : UINT64_MAX;
	char tail[2 * OUTPUT_MAX];
	size_t tail_len = 0;
	auto_fd in = input_fd(p);
	auto_fd out_r = -1;
	auto_fd out_w = -1;
	auto_fd pidfd = -1;
	int pipefd[2], status = 0, rc;
	pid_t pid;

	if (in < 0 || pipe2(pipefd, O_CLOEXEC) < 0)
		return err_sys(e, in < 0 ? in : -errno, "%s", p->what);
	out_r = pipefd[0];
	out_w = pipefd[1];
	pid = fork();
	if (pid < 0)
		return err_sys(e, -errno, "%s: fork", p->what);
	if (pid == 0)
		become(p, in, out_w);
	fd_close(&out_w);
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0u);
	rc = pidfd < 0 ? -errno : listen_to(pidfd, out_r, until, tail, &tail_len);
	if (rc < 0)
		(void)kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return report(p, rc, status, tail, tail_len, e);
}
