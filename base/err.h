/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The error that a user reads: one sentence with the thing and the reason.
 *
 * Lives on the caller's stack, fixed size: nothing to free. The first error wins; callers further up
 * prefix context with err_wrap(). Not shared between threads.
 */
#ifndef HUSK_BASE_ERR_H
#define HUSK_BASE_ERR_H

#include "base/compiler.h"

struct err {
	int code;	/* 0 = no error, else a negative errno */
	char msg[1024]; /* without a newline */
};

/*
 * Records @code (a negative errno) and the formatted sentence unless an error is there already.
 * @e may be NULL. Returns @code, so that `return err_set(...)` works.
 */
int err_set(struct err *e, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* As err_set(), and appends ": " and the text of -@code. */
int err_sys(struct err *e, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Prefixes "formatted: " to the message already there. Returns e->code (or -EINVAL for NULL). */
int err_wrap(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
