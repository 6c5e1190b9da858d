/* SPDX-License-Identifier: Apache-2.0 */
/* Signals as something to read. */
#include <criterion/criterion.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/sigfd.h"

Test(sigfd, all_but_faults_and_the_open_ones_are_blocked_and_read)
{
	const int open[] = {SIGUSR2};
	struct signalfd_siginfo si;
	sigset_t now;
	struct err e;
	int fd = sigfd_open(open, 1, &e);

	cr_assert_geq(fd, 0);
	cr_assert_eq(sigprocmask(SIG_SETMASK, NULL, &now), 0);
	cr_expect(sigismember(&now, SIGTERM) && sigismember(&now, SIGPIPE));
	cr_expect(!sigismember(&now, SIGUSR2) && !sigismember(&now, SIGSEGV));
	cr_expect(!sigismember(&now, SIGSYS) && !sigismember(&now, SIGBUS));
	cr_assert_eq(kill(getpid(), SIGTERM), 0);
	cr_assert_eq(read(fd, &si, sizeof(si)), (ssize_t)sizeof(si));
	cr_expect_eq(si.ssi_signo, SIGTERM);
	cr_expect_eq(read(fd, &si, sizeof(si)), -1, "it does not wait");
	(void)close(fd);
}
