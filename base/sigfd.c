/* SPDX-License-Identifier: Apache-2.0 */
/* See sigfd.h. */
#include "base/sigfd.h"

#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>

#include "base/compiler.h"

int sigfd_open(const int *open, size_t n, struct err *e)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS};
	sigset_t set;
	int fd;

	(void)sigfillset(&set);
	for (size_t i = 0; i < ARRAY_LEN(faults); i++)
		(void)sigdelset(&set, faults[i]);
	for (size_t i = 0; i < n; i++)
		(void)sigdelset(&set, open[i]);
	if (sigprocmask(SIG_SETMASK, &set, NULL) < 0)
		return err_sys(e, -errno, "signal mask");
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? err_sys(e, -errno, "signalfd") : fd;
}
