/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the tests of one program below the thread sanitizer: each in a process of its own, one after the other. */
#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define SKIPPED 77

static struct tsan_test *first, **last = &first;

void tsan_add(struct tsan_test *t)
{
	*last = t;
	last = &t->next;
}

void tsan_say(const char *file, int line, const char *what, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)fprintf(stderr, "%s:%d: %s: ", file, line, what);
	(void)vfprintf(stderr, fmt, ap);
	(void)fputc('\n', stderr);
	va_end(ap);
}

void tsan_fail(void)
{
	_exit(1);
}

void tsan_skip(void)
{
	_exit(SKIPPED);
}

static const struct tsan_opts *suite_of(const struct tsan_test *t)
{
	static const struct tsan_opts none;

	for (const struct tsan_test *s = first; s; s = s->next)
		if (!s->name && !strcmp(s->suite, t->suite))
			return &s->opts;
	return &none;
}

static void run(const struct tsan_test *t)
{
	const struct tsan_opts *s = suite_of(t);
	void (*init)(void) = t->opts.init ? t->opts.init : s->init;
	void (*fini)(void) = t->opts.fini ? t->opts.fini : s->fini;

	(void)alarm(300);
	if (init)
		init();
	t->fn();
	if (fini)
		fini();
	exit(0); /* the sanitizer has the last word */
}

int main(void)
{
	unsigned passed = 0, failed = 0, skipped = 0;

	for (const struct tsan_test *t = first; t; t = t->next) {
		int status = 0;
		pid_t pid;

		if (!t->name || t->opts.disabled)
			continue;
		(void)fflush(NULL);
		pid = fork();
		if (pid == 0)
			run(t);
		if (pid < 0 || waitpid(pid, &status, 0) < 0)
			return 2;
		if (t->opts.signal && WIFSIGNALED(status) && WTERMSIG(status) == t->opts.signal)
			status = 0;
		if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED) {
			skipped++;
		} else if (status == 0) {
			passed++;
		} else {
			failed++;
			(void)fprintf(stderr, "FAILED %s/%s\n", t->suite, t->name);
		}
	}
	(void)printf("Synthesis: Passing: %u | Failing: %u | Skipped: %u\n", passed, failed,
		     skipped);
	return failed != 0 || passed == 0;
}
