/* SPDX-License-Identifier: Apache-2.0 */
/* What the verbs share. */
#ifndef HUSK_RUNTIME_CMDS_H
#define HUSK_RUNTIME_CMDS_H

#include <stdbool.h>
#include "base/err.h"
#include "runtime/cli.h"
#include "runtime/state.h"

/* Exactly one word, a valid id. */
int cmds_one_id(struct cli *c, const char *verb, struct err *e) MUST_CHECK;
/*
 * Opens and reads the container @id; one whose creation is not far enough for a file counts as
 * creating. The descriptor and @s are the caller's.
 */
int cmds_open_state(struct cli *c, const char *id, int *ret_dir, struct state *s,
		    struct err *e) MUST_CHECK;
/*
 * To the engine, as it wants it: the pid file has the digits of @pid and nothing else, whole whenever it
 * is there; the pidfd socket gets a pidfd.
 */
int cmds_tell_pid(const struct cli_opts *o, pid_t pid, struct err *e) MUST_CHECK;
/*
 * Opens the gate of the container whose state directory is @dir; its poststart hooks. @wait: until the
 * process has been executed, or could not be.
 */
int cmds_start(struct cli *c, int dir, const char *id, bool wait, struct err *e) MUST_CHECK;
/* Adds @op to @req and asks the sandbox process; *ret as client_query(). */
int cmds_query(int dir, const char *op, struct json_object *req, struct json_object **ret,
	       struct err *e) MUST_CHECK;
/* -ENOENT when there is none; @force kills what runs. */
int cmds_delete(const char *root, const char *id, bool force, struct err *e) MUST_CHECK;

#endif
