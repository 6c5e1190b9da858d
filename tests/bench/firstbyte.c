/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times commands to their first output: firstbyte [-k | -e] [-m MARK] [-t SECONDS] -- COMMAND [ARG...]
 *
 * Starts the command with its standard output on a pipe and prints four numbers of nanoseconds on one
 * line: from before the start to the first byte (with -m: to the end of the first occurrence of MARK),
 * to the end of the process, its CPU time with that of its children, and how long the first CPU was
 * idle meanwhile (0: nobody tells; in a lab with --icount it is the only one, and time less idleness
 * is what was executed). With -k the process is killed once
 * its output came. Exit status 0 when the output came, 1 when it did not, 2 for misuse. With -e it is the
 * end that matters: the first number is the second one, and the exit status is 0 when the command's was. The
 * clock is CLOCK_MONOTONIC.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

extern char **environ;

static uint64_t tv_ns(struct timeval tv)
{
	return (uint64_t)tv.tv_sec * NS_PER_SEC + (uint64_t)tv.tv_usec * NS_PER_US;
}

/* Nanoseconds for which the first CPU has been idle; 0 = the kernel does not tell. */
static uint64_t idle_ns(void)
{
	unsigned long long ns = 0;
	char line[256];
	FILE *f = fopen("/proc/timer_list", "re");

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, " .idle_sleeptime : %llu", &ns) == 1)
			break;
	(void)fclose(f);
	return ns;
}

/* Reads until @mark (or any byte) has come; 0 = it never came. Keeps draining the pipe afterwards. */
static uint64_t watch(int fd, const char *mark, uint64_t deadline, pid_t pid, bool then_kill)
{
	size_t want = mark ? strlen(mark) : 0, have = 0;
	uint64_t seen = 0;
	char buf[16384];

	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		uint64_t now = clock_ns();
		ssize_t n;

		if (now >= deadline || poll(&p, 1, (int)((deadline - now) / NS_PER_MS) + 1) == 0) {
			(void)kill(pid, SIGKILL);
			return seen;
		}
		n = read(fd, buf + have, sizeof(buf) - 1 - have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return seen;
		now = clock_ns();
		have += (size_t)n;
		buf[have] = '\0';
		if (!seen && (!want || memmem(buf, have, mark, want)))
			seen = now;
		if (seen && then_kill) {
			(void)kill(pid, SIGKILL);
			then_kill = false;
		}
		if (have > sizeof(buf) / 2) { /* a mark may lie across two reads */
			size_t keep = want ? want - 1 : 0;

			memmove(buf, buf + have - keep, keep);
			have = keep;
		}
	}
}

int main(int argc, char **argv)
{
	uint64_t start, first, end, idle, limit = 120;
	posix_spawn_file_actions_t fa;
	const char *mark = NULL;
	int opt, status, fds[2];
	struct rusage ru;
	bool then_kill = false, to_end = false;
	pid_t pid;

	while ((opt = getopt(argc, argv, "+ekm:t:")) != -1) {
		if (opt == 'm')
			mark = optarg;
		else if (opt == 'k')
			then_kill = true;
		else if (opt == 'e')
			to_end = true;
		else if (opt == 't')
			limit = strtoull(optarg, NULL, 10);
		else
			return 2;
	}
	if (optind == argc || pipe(fds) < 0)
		return 2;
	(void)posix_spawn_file_actions_init(&fa);
	(void)posix_spawn_file_actions_adddup2(&fa, fds[1], STDOUT_FILENO);
	(void)posix_spawn_file_actions_addclose(&fa, fds[0]);
	(void)posix_spawn_file_actions_addclose(&fa, fds[1]);
	idle = idle_ns();
	start = clock_ns();
	if (posix_spawnp(&pid, argv[optind], &fa, NULL, argv + optind, environ) != 0) {
		(void)fprintf(stderr, "firstbyte: cannot start '%s'\n", argv[optind]);
		return 2;
	}
	(void)close(fds[1]);
	first = watch(fds[0], mark, start + limit * NS_PER_SEC, pid, then_kill);
	(void)close(fds[0]);
	if (wait4(pid, &status, 0, &ru) < 0)
		return 2;
	end = clock_ns();
	idle = idle_ns() - idle;
	if (to_end)
		first = WIFEXITED(status) && WEXITSTATUS(status) == 0 ? end : 0;
	(void)printf("%llu %llu %llu %llu\n", first ? (unsigned long long)(first - start) : 0ull,
		     (unsigned long long)(end - start),
		     (unsigned long long)(tv_ns(ru.ru_utime) + tv_ns(ru.ru_stime)),
		     (unsigned long long)idle);
	return first ? 0 : 1;
}
