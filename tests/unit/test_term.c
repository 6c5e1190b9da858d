/* SPDX-License-Identifier: Apache-2.0 */
/*
 * term.c: the escape, wherever reads cut the bytes; raw mode and size on a real pseudo terminal.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/compiler.h"
#include "vmm/term.h"

/* What reaches the guest, with H and Q for the commands, when the input comes in parts of @step
 * bytes. */
static void filter(const char *in, size_t len, size_t step, char *out, size_t cap)
{
	struct term_escape t = {0};
	size_t n = 0;

	for (size_t at = 0; at < len; at += step) {
		uint8_t buf[64];
		size_t part = MIN(step, len - at), from = 0;

		memcpy(buf, in + at, part);
		while (from < part) {
			enum term_cmd cmd;
			size_t keep, used = term_filter(&t, buf + from, part - from, &keep, &cmd);

			cr_assert(used > 0 && used <= part - from && keep <= used);
			cr_assert(used == part - from || cmd != TERM_CMD_NONE,
				  "stops at commands only");
			cr_assert_lt(n + keep + 1, cap);
			memcpy(out + n, buf + from, keep);
			n += keep;
			if (cmd != TERM_CMD_NONE)
				out[n++] = cmd == TERM_CMD_QUIT ? 'Q' : 'H';
			from += used;
		}
	}
	out[n] = 0;
}

Test(term, escape_split_anywhere)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
	    {"hello", "hello"},
	    {"a\001xb", "aQb"},
	    {"\001X", "Q"},
	    {"\001\001x", "\001x"},
	    {"\001\001\001x", "\001Q"},
	    {"\001hls\n", "Hls\n"},
	    {"\001zls", "ls"},
	    {"xx\001", "xx"},
	    {"\001?\001H\001x", "HHQ"},
	    {"x\001\001\001\001x", "x\001\001x"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		size_t len = strlen(cases[i].in);

		for (size_t step = 1; step <= len; step++) {
			char out[64];

			filter(cases[i].in, len, step, out, sizeof(out));
			cr_assert_str_eq(out, cases[i].out, "case %zu in parts of %zu", i, step);
		}
	}
}

Test(term, every_other_byte_passes)
{
	struct term_escape t = {0};
	uint8_t buf[256], want[256];
	enum term_cmd cmd;
	size_t keep, n = 0;

	for (unsigned i = 0; i < 256; i++) {
		buf[i] = (uint8_t)i;
		if (i != TERM_ESCAPE && i != TERM_ESCAPE + 1) /* which is dropped with it */
			want[n++] = (uint8_t)i;
	}
	cr_assert_eq(term_filter(&t, buf, 256, &keep, &cmd), 256);
	cr_assert_eq(keep, n);
	cr_assert_arr_eq(buf, want, n);
	cr_assert_eq(cmd, TERM_CMD_NONE);
}

static void open_pty(int *main_fd, int *fd)
{
	struct winsize ws = {.ws_row = 33, .ws_col = 101};

	cr_assert_eq(openpty(main_fd, fd, NULL, NULL, &ws), 0);
}

static bool is_raw(int fd)
{
	struct termios t;

	cr_assert_eq(tcgetattr(fd, &t), 0);
	return !(t.c_lflag & (ICANON | ECHO | ISIG)) && !(t.c_oflag & OPOST) &&
	       !(t.c_iflag & (IXON | ICRNL));
}

Test(term, raw_and_back)
{
	int m, fd;

	open_pty(&m, &fd);
	cr_assert_not(is_raw(fd));
	cr_assert(term_foreground(fd), "a terminal that controls nobody stops nobody");
	cr_assert_eq(term_raw(fd), 0);
	cr_assert(is_raw(fd));
	/* After SIGCONT: what is restored is still the first state. */
	cr_assert_eq(term_raw(fd), 0);
	term_restore();
	cr_assert_not(is_raw(fd));
	term_restore();
	cr_assert_eq(term_raw(fd), 0);
	cr_assert(is_raw(fd));
	term_restore();
	cr_assert_not(is_raw(fd));
}

Test(term, size)
{
	uint16_t cols = 7, rows = 8;
	int m, fd, p[2];

	open_pty(&m, &fd);
	cr_assert(term_size(fd, &cols, &rows));
	cr_assert_eq(cols, 101);
	cr_assert_eq(rows, 33);
	cr_assert_eq(pipe(p), 0);
	cols = 7;
	cr_assert_not(term_size(p[0], &cols, &rows));
	cr_assert_eq(cols, 7, "untouched");
	cr_assert_not(term_foreground(p[0]));
	cr_assert_eq(term_raw(p[0]), -ENOTTY);
}

/* However the process ends, the terminal is as it was, and the signal is what ended it. */
Test(term, restored_at_a_fatal_signal)
{
	static const int how[] = {0, SIGABRT, SIGSEGV, SIGBUS, SIGQUIT, SIGFPE};

	for (size_t i = 0; i < ARRAY_LEN(how); i++) {
		int m, fd, status;
		pid_t pid;

		open_pty(&m, &fd);
		pid = fork();
		cr_assert_geq(pid, 0);
		if (pid == 0) {
			if (how[i])
				(void)signal(how[i],
					     SIG_DFL); /* criterion's and the sanitizers' own */
			if (term_raw(fd) < 0 || !is_raw(fd))
				_exit(99);
			if (how[i] == SIGABRT)
				abort();
			if (how[i])
				(void)raise(how[i]);
			exit(5);
		}
		cr_assert_eq(waitpid(pid, &status, 0), pid);
		if (how[i])
			cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == how[i],
				  "signal %d: status %x", how[i], (unsigned)status);
		else
			cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 5, "status %x",
				  (unsigned)status);
		cr_assert_not(is_raw(fd), "signal %d", how[i]);
		(void)close(fd);
		(void)close(m);
	}
}
