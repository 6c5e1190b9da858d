/* SPDX-License-Identifier: Apache-2.0 */
/* The terminal of `vmm run`. See term.h; termios(3) and ioctl_tty(2) of Linux. */
#include "vmm/term.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/compiler.h"

/* Written before raw is set, on the main thread; read by handlers of fatal signals. */
static struct termios former;
static int raw_fd = -1;
static volatile sig_atomic_t raw;

size_t term_filter(struct term_escape *t, uint8_t *buf, size_t len, size_t *ret_keep,
		   enum term_cmd *ret_cmd)
{
	size_t keep = 0, i = 0;

	*ret_cmd = TERM_CMD_NONE;
	while (i < len && *ret_cmd == TERM_CMD_NONE) {
		uint8_t c = buf[i++];

		if (!t->pending) {
			if (c == TERM_ESCAPE)
				t->pending = true;
			else
				buf[keep++] = c;
			continue;
		}
		t->pending = false;
		if (c == TERM_ESCAPE)
			buf[keep++] = c;
		else if (c == 'x' || c == 'X')
			*ret_cmd = TERM_CMD_QUIT;
		else if (c == 'h' || c == 'H' || c == '?')
			*ret_cmd = TERM_CMD_HELP;
	}
	*ret_keep = keep;
	return i;
}

bool term_foreground(int fd)
{
	pid_t pgrp = tcgetpgrp(fd);

	/* Not our controlling terminal: nobody stops us. */
	return isatty(fd) && (pgrp == getpgrp() || pgrp < 0);
}

void term_restore(void)
{
	int err = errno;

	if (raw) {
		raw = 0;
		/*
		 * Also when somebody else has the foreground by now (SIGTTOU is blocked): what the
		 * shell set for itself it sets again with the next prompt.
		 */
		(void)tcsetattr(raw_fd, TCSANOW, &former);
	}
	errno = err;
}

static void on_fatal(int sig)
{
	term_restore();
	(void)raise(sig); /* which has its default action again: SA_RESETHAND */
}

static void prepare(void)
{
	static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL,  SIGFPE,
				    SIGABRT, SIGSYS, SIGTRAP, SIGQUIT};
	struct sigaction sa = {.sa_handler = on_fatal, .sa_flags = (int)SA_RESETHAND};
	sigset_t set;

	for (size_t i = 0; i < ARRAY_LEN(fatal); i++) {
		struct sigaction old;

		if (sigaction(fatal[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
			(void)sigaction(fatal[i], &sa, NULL);
	}
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTTOU);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	(void)atexit(term_restore);
}

int term_raw(int fd)
{
	static bool prepared;
	struct termios t;

	if (tcgetattr(fd, &t) < 0)
		return -errno;
	if (!prepared) {
		prepare();
		prepared = true;
		former = t;
		raw_fd = fd;
	}
	cfmakeraw(&t);
	raw = 1;
	return tcsetattr(fd, TCSANOW, &t) < 0 ? -errno : 0;
}

bool term_size(int fd, uint16_t *ret_cols, uint16_t *ret_rows)
{
	struct winsize ws;

	if (ioctl(fd, TIOCGWINSZ, &ws) < 0 || !ws.ws_col || !ws.ws_row)
		return false;
	*ret_cols = ws.ws_col;
	*ret_rows = ws.ws_row;
	return true;
}
