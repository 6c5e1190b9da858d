/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One run of a benchmark: starts the commands, watches their output, takes the times, ends what
 * has to be ended. See bench.h. Keeps no state: several threads may be in here.
 */
#include "vmm/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"

/* Of either stream, what is kept to look for marks and reports in; a subject may write more. */
#define KEEP_MAX 65536u

extern char **environ;

struct stream {
	int fd; /* -1 = at its end */
	size_t len;
	char text[KEEP_MAX + 1];
};

struct watch {
	const struct bench_plan *p;
	const struct bench_subject *s;
	struct bench_run *r;
	uint64_t t0, deadline;
	struct stream out, err;
	pid_t pid;
	int pidfd; /* -1 = nothing runs */
	bool memory, signalled;
};

/* ---- words ----------------------------------------------------------------------------------- */

static char *with_id(const char *word, unsigned id)
{
	const char *at = strstr(word, "{id}");
	char *ret;

	if (!at)
		return strdup(word);
	if (asprintf(&ret, "%.*s%u%s", (int)(at - word), word, id, at + 4) < 0)
		return NULL;
	return ret;
}

static char **words_for(char *const *argv, unsigned id)
{
	size_t n = 0;
	char **ret;

	while (argv[n])
		n++;
	ret = calloc(n + 1, sizeof(*ret));
	for (size_t i = 0; ret && i < n; i++) {
		ret[i] = with_id(argv[i], id);
		if (!ret[i]) {
			bench_free_words(ret);
			return NULL;
		}
	}
	return ret;
}

/* ---- starting and ending --------------------------------------------------------------------- */

static int spawn(char *const *words, unsigned id, int out, int err, pid_t *ret, struct err *e)
{
	char **argv = words_for(words, id);
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t at;
	sigset_t none;
	int rc;

	if (!argv)
		return err_set(e, -ENOMEM, "out of memory");
	(void)sigemptyset(&none);
	(void)posix_spawnattr_init(&at);
	(void)posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSIGMASK);
	(void)posix_spawnattr_setsigmask(&at, &none);
	(void)posix_spawn_file_actions_init(&fa);
	(void)posix_spawn_file_actions_addopen(&fa, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	(void)posix_spawn_file_actions_adddup2(&fa, out, STDOUT_FILENO);
	(void)posix_spawn_file_actions_adddup2(&fa, err, STDERR_FILENO);
	rc = posix_spawnp(ret, argv[0], &fa, &at, argv, environ);
	(void)posix_spawn_file_actions_destroy(&fa);
	(void)posix_spawnattr_destroy(&at);
	if (rc)
		rc = err_sys(e, -rc, "'%s' cannot be started", argv[0]);
	bench_free_words(argv);
	return rc;
}

static void take_rusage(struct watch *w, const struct rusage *ru)
{
	uint64_t us = (uint64_t)(ru->ru_utime.tv_sec + ru->ru_stime.tv_sec) * 1000000u +
		      (uint64_t)(ru->ru_utime.tv_usec + ru->ru_stime.tv_usec);
	uint64_t *to = &w->r->count[BENCH_CPU_US];

	*to = *to == BENCH_NONE ? us : *to + us;
}

/* The command is gone: its status, or -1 while it is still there. */
static int reap(struct watch *w, bool block)
{
	struct rusage ru;
	int status;
	pid_t pid;

	do
		pid = wait4(w->pid, &status, block ? 0 : WNOHANG, &ru);
	while (pid < 0 && errno == EINTR);
	if (pid != w->pid)
		return -1;
	fd_close(&w->pidfd);
	take_rusage(w, &ru);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* ---- watching -------------------------------------------------------------------------------- */

static void take_output(struct stream *st)
{
	char drop[4096];
	size_t room = KEEP_MAX - st->len;
	ssize_t n = read(st->fd, room ? st->text + st->len : drop, room ? room : sizeof(drop));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		fd_close(&st->fd);
		return;
	}
	if (room)
		st->len += (size_t)n;
	st->text[st->len] = '\0';
}

static bool has_come(const struct watch *w)
{
	const char *until = w->p->until;

	return until ? memmem(w->out.text, w->out.len, until, strlen(until)) != NULL
		     : w->out.len != 0;
}

/* The child that a command's first thread has, or the command itself. */
static int who_has_guest(const struct watch *w)
{
	char path[64];
	auto_free char *text = NULL;

	if (!w->s->in_child)
		return (int)w->pid;
	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)w->pid, (int)w->pid);
	if (fd_read_file(AT_FDCWD, path, 4096, &text, NULL) < 0)
		return (int)w->pid;
	return atoi(text) > 0 ? atoi(text) : (int)w->pid;
}

static void on_output(struct watch *w)
{
	uint64_t now = clock_ns();

	take_output(&w->out);
	if (w->r->at[BENCH_FIRST] || !has_come(w))
		return;
	w->r->at[BENCH_FIRST] = now - w->t0;
	if (w->memory && w->s->ram)
		bench_memory(who_has_guest(w), w->s->ram, w->r);
}

static void end_command(struct watch *w)
{
	if (w->s->stop && !w->signalled && w->pidfd >= 0 && w->r->at[BENCH_FIRST]) {
		w->signalled = true;
		(void)kill(w->pid, w->s->stop);
	}
}

static bool done(const struct watch *w, bool last)
{
	if (w->pidfd >= 0)
		return false;
	/* What a finished command has started may still have something to say. */
	return !last || w->r->at[BENCH_FIRST] || w->out.fd < 0;
}

/* Until the command is gone and, if it is the last, the output has come. Returns its status. */
static int watch_command(struct watch *w, bool last, struct err *e)
{
	int status = 0;

	while (!done(w, last)) {
		struct pollfd p[3] = {{.fd = w->out.fd, .events = POLLIN},
				      {.fd = w->err.fd, .events = POLLIN},
				      {.fd = w->pidfd, .events = POLLIN}};
		uint64_t now = clock_ns();

		if (now >= w->deadline)
			return err_set(e, -ETIMEDOUT, "%s: no output after %u s", w->s->name,
				       w->p->timeout_s);
		if (poll(p, 3, (int)((w->deadline - now) / NS_PER_MS) + 1) < 0 && errno != EINTR)
			return err_sys(e, -errno, "poll");
		if (p[0].revents)
			on_output(w);
		if (p[1].revents)
			take_output(&w->err);
		if (p[2].revents)
			status = reap(w, false);
		if (last)
			end_command(w);
	}
	return status;
}

/* All that is left in a pipe whose writers are gone or have been told to go. */
static void drain(struct stream *st)
{
	struct pollfd p = {.fd = st->fd, .events = POLLIN};

	while (st->fd >= 0 && poll(&p, 1, 0) > 0)
		take_output(st);
}

/* The last words for people: a report, which is for programs, is passed over. */
static const char *last_line(struct stream *st)
{
	for (;;) {
		char *nl;

		while (st->len && st->text[st->len - 1] == '\n')
			st->text[--st->len] = '\0';
		nl = strrchr(st->text, '\n');
		nl = nl ? nl + 1 : st->text;
		if (*nl != '{')
			return nl;
		st->len = (size_t)(nl - st->text);
		st->text[st->len] = '\0';
	}
}

static int no_output(struct watch *w, int status, struct err *e)
{
	const char *words = last_line(&w->err);

	if (!*words)
		words = last_line(&w->out);
	return err_set(e, -EIO, "%s: ended with status %d without the output that was awaited%s%s",
		       w->s->name, status, *words ? ": " : "", words);
}

/* ---- a run ----------------------------------------------------------------------------------- */

static void close_both(int fds[2])
{
	fd_close(&fds[0]);
	fd_close(&fds[1]);
}

static int run_steps(struct watch *w, unsigned id, int writers[2], struct err *e)
{
	static const unsigned marks[BENCH_STEPS] = {BENCH_CREATED, BENCH_STARTED};
	const struct bench_subject *s = w->s;
	int status = 0;

	for (unsigned i = 0; i < s->steps; i++) {
		bool last = i + 1 == s->steps;
		int rc = spawn(s->step[i], id, writers[0], writers[1], &w->pid, e);

		if (rc < 0)
			return rc;
		if (last) /* from here on the pipes end with those who write */
			close_both(writers);
		w->pidfd = (int)syscall(SYS_pidfd_open, w->pid, 0u);
		if (w->pidfd < 0) {
			rc = -errno;
			(void)kill(w->pid, SIGKILL);
			(void)reap(w, true);
			return err_sys(e, rc, "pidfd");
		}
		status = watch_command(w, last && s->steps == 1, e);
		if (status < 0)
			return status;
		if (s->steps > 1)
			w->r->at[marks[i]] = clock_ns() - w->t0;
		if (!last && status != 0)
			return no_output(w, status, e);
	}
	/* Two commands have ended; the output comes from what they left running. */
	if (s->steps > 1)
		status = watch_command(w, true, e);
	if (status < 0)
		return status;
	w->r->at[BENCH_END] = clock_ns() - w->t0;
	return w->r->at[BENCH_FIRST] ? 0 : no_output(w, status, e);
}

/* Pipes for what the command says, and the start of its time. */
static int begin(struct watch *w, int writers[2], struct err *e)
{
	int o[2], r[2];

	if (pipe2(o, O_CLOEXEC) < 0)
		return err_sys(e, -errno, "pipe");
	if (pipe2(r, O_CLOEXEC) < 0) {
		int rc = -errno;

		(void)close(o[0]);
		(void)close(o[1]);
		return err_sys(e, rc, "pipe");
	}
	w->out.fd = o[0];
	w->err.fd = r[0];
	writers[0] = o[1];
	writers[1] = r[1];
	w->t0 = clock_ns();
	w->deadline = w->t0 + w->p->timeout_s * NS_PER_SEC;
	return 0;
}

int bench_exec(const struct bench_plan *p, const struct bench_subject *s, unsigned id, bool memory,
	       struct bench_run *ret, struct err *e)
{
	auto_free struct watch *w = calloc(1, sizeof(*w));
	int writers[2], rc;

	*ret = (struct bench_run){0};
	for (unsigned i = 0; i < BENCH_COUNTS; i++)
		ret->count[i] = BENCH_NONE;
	if (!w)
		return err_set(e, -ENOMEM, "out of memory");
	*w = (struct watch){.p = p, .s = s, .r = ret, .pidfd = -1, .memory = memory};
	rc = begin(w, writers, e);
	if (rc < 0)
		return rc;
	rc = run_steps(w, id, writers, e);
	if (w->pidfd >= 0) {
		(void)kill(w->pid, SIGKILL);
		(void)reap(w, true);
	}
	close_both(writers);
	drain(&w->out);
	drain(&w->err);
	fd_close(&w->out.fd);
	fd_close(&w->err.fd);
	if (rc == 0) {
		bench_parse(s->tells, w->out.text, w->t0, ret);
		bench_parse(s->tells, w->err.text, w->t0, ret);
	}
	return rc;
}

int bench_exec_aside(const struct bench_plan *p, char *const *argv, unsigned id, struct err *e)
{
	struct bench_subject s = {.name = argv[0], .steps = 1};
	auto_free struct watch *w = calloc(1, sizeof(*w));
	struct bench_run ignored = {0};
	int writers[2], rc;

	if (!w)
		return err_set(e, -ENOMEM, "out of memory");
	*w = (struct watch){.p = p, .s = &s, .r = &ignored, .pidfd = -1};
	rc = begin(w, writers, e);
	if (rc < 0)
		return rc;
	rc = spawn(argv, id, writers[0], writers[1], &w->pid, e);
	close_both(writers);
	if (rc == 0) {
		w->pidfd = (int)syscall(SYS_pidfd_open, w->pid, 0u);
		rc = w->pidfd < 0 ? -errno : watch_command(w, false, e);
		if (w->pidfd >= 0 || rc < 0) {
			(void)kill(w->pid, SIGKILL);
			(void)reap(w, true);
		}
	}
	drain(&w->err);
	if (rc > 0)
		rc = err_set(e, -EIO, "%s %s: status %d: %s", argv[0], argv[1] ? argv[1] : "", rc,
			     last_line(&w->err));
	fd_close(&w->out.fd);
	fd_close(&w->err.fd);
	return rc;
}
