/* SPDX-License-Identifier: Apache-2.0 */
/* What the verbs share. */
#ifndef HUSK_RUNTIME_CMDS_H
#define HUSK_RUNTIME_CMDS_H

#include <stdbool.h>
#include "base/err.h"
#include "runtime/cli.h"

/* Exactly one word, a valid id. */
int cmds_one_id(struct cli *c, const char *verb, struct err *e) MUST_CHECK;
/* Opens the gate of the container whose state directory is @dir; its poststart hooks. */
int cmds_start(struct cli *c, int dir, const char *id, struct err *e) MUST_CHECK;
/* -ENOENT when there is none; @force kills what runs. */
int cmds_delete(const char *root, const char *id, bool force, struct err *e) MUST_CHECK;

#endif
