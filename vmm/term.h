/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The terminal that `vmm run` was started on: raw mode and its undoing, size, and the escape that
 * talks to vmm instead of the guest. One terminal in the process; all on the main thread, but for
 * the handlers of fatal signals, which only restore.
 */
#ifndef HUSK_VMM_TERM_H
#define HUSK_VMM_TERM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TERM_ESCAPE 0x01 /* Ctrl-a, as with QEMU and kvmtool */
#define TERM_HELP_TEXT                                                                             \
	"\r\nCtrl-a x ends the machine, Ctrl-a Ctrl-a sends Ctrl-a, Ctrl-a h shows this\r\n"

enum term_cmd { TERM_CMD_NONE, TERM_CMD_QUIT, TERM_CMD_HELP };

/* Zero-initialised. Remembers an escape at the end of a buffer for the next one. */
struct term_escape {
	bool pending;
};

/*
 * Goes through @len bytes at @buf up to the first command and leaves in place what is for the
 * guest:
 * *@ret_keep bytes at @buf. After the escape an unknown byte is dropped with it. Returns how many
 * bytes were gone through: fewer than @len only with a command in *@ret_cmd.
 */
size_t term_filter(struct term_escape *t, uint8_t *buf, size_t len, size_t *ret_keep,
		   enum term_cmd *ret_cmd);

/* True: @fd is a terminal, and this process is in its foreground, so that reading does not stop it.
 */
bool term_foreground(int fd);
/*
 * Makes the terminal @fd raw; its former state comes back with term_restore(), at exit(), and when
 * a fatal signal ends the process. Again after the process was continued: the state to come back to
 * stays the first. 0 or -errno.
 */
int term_raw(int fd);
void term_restore(void); /* any number of times */
/* False: not a terminal, or one that does not know. */
bool term_size(int fd, uint16_t *ret_cols, uint16_t *ret_rows);

#endif
