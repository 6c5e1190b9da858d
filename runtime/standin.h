/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host process that stands for an exec: the engine reaps it, signals it, looks at its status.
 * Data does not pass through it; it holds the connection to the sandbox process that the exec was
 * asked for with, passes signals and window sizes on, and ends with the process's status when it is
 * told. Its end, whatever the reason, closes the connection, and that ends the process in the guest.
 *
 * In the foreground the command itself is it. Detached it is a process of its own, forked before
 * the CLI has grown, in a session of its own; the CLI's end makes it the child of the caller's
 * sub-reaper.
 */
#ifndef HUSK_RUNTIME_STANDIN_H
#define HUSK_RUNTIME_STANDIN_H

#include <sys/types.h>
#include "base/err.h"
#include "runtime/cgroup.h"

#define STANDIN_LOST 137 /* the sandbox process has gone without a word: as if killed */

/*
 * Until the process is over: its exit status. @sock: the connection, after the exec was
 * acknowledged. @sig_fd: of sigfd_open() with nothing open. @tty_fd: whose size the process's terminal has, -1 =
 * none.
 */
int standin_wait(int sock, int sig_fd, int tty_fd);

struct standin {
	pid_t pid;
	int chan; /* the CLI's end; the stand-in waits at the other */
};

/*
 * Forks it, in the container's @cgroup and with nothing open but @sock.
 * It ends if the CLI does before standin_commit().
 */
int standin_fork(struct standin *s, int sock, const struct cgroup *cgroup,
		 struct err *e) MUST_CHECK;
/* The exec was acknowledged: it goes on alone, with the pty's slave as its terminal (-1 = none). */
int standin_commit(struct standin *s, int slave, struct err *e) MUST_CHECK;
/* The exec failed: it ends, and has ended when this returns. */
void standin_cancel(struct standin *s);

#endif
