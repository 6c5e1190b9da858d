/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Terminals on the host. With --console-socket: a pty of the host's devpts, whose master goes to
 * the engine; its slave is raw, because the guest's pty has the line discipline already. Without,
 * in the foreground: the terminal that the command was started on, made raw meanwhile.
 * CLI only; single-threaded.
 */
#ifndef HUSK_RUNTIME_CONSOLE_H
#define HUSK_RUNTIME_CONSOLE_H

#include <stdbool.h>
#include "base/err.h"
#include "runtime/json.h"

/*
 * Whether a process with @terminal or without may have --console-socket (@socket, NULL = none), when
 * the command returns before its end (@detach) or not.
 */
int console_check(bool terminal, bool detach, const char *socket, struct err *e) MUST_CHECK;

struct console {
	int master; /* to be sent; -1 = there is none, or it has been */
	int slave;  /* raw; -1 = none */
};
/* A pair, of the size in @process's consoleSize if there is one. */
int console_open(struct console *c, struct json_object *process, struct err *e) MUST_CHECK;
/* Connects to @path and hands the master over: it is the engine's from then on. */
int console_send(struct console *c, const char *path, struct err *e) MUST_CHECK;
/* Hands a pidfd over the same way, for engines that watch a process by one. */
int console_send_pidfd(pid_t pid, const char *path, struct err *e) MUST_CHECK;
void console_close(struct console *c);

/*
 * The terminal of this command: the first of stdin, stdout and stderr that is one, else /dev/tty.
 * A new descriptor, or a negative code with the sentence.
 */
int console_own(struct err *e) MUST_CHECK;
/* Adds consoleSize to @process if it has none and @tty_fd knows its size. */
void console_add_size(struct json_object *process, int tty_fd);

#endif
