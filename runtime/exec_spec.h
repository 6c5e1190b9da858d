/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process of an exec, in the form of the OCI spec's `process`: from a document, or from the
 * container's own with what the command line says. Functions of no state.
 */
#ifndef HUSK_RUNTIME_EXEC_SPEC_H
#define HUSK_RUNTIME_EXEC_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include "base/err.h"
#include "runtime/json.h"
#include "runtime/opts.h"

struct exec_flags {
	const char *cwd, *user; /* NULL = the container's */
	struct opt_values env, caps, gids;
	bool tty, no_new_privs;
	char **args;
	size_t arg_cnt;
};

/*
 * The container's process (of @spec, a config.json that spec_parse() has passed) with other
 * arguments, and @f's settings in place of or beside its own, as runc does it. *ret is the caller's.
 */
int exec_spec_from_flags(struct json_object *spec, const struct exec_flags *f,
			 struct json_object **ret, struct err *e) MUST_CHECK;
/*
 * A document (--process). What it says nothing of and runc takes from the container's
 * configuration (limits, oomScoreAdj) comes from @spec; capabilities likewise, in the agent.
 */
int exec_spec_from_text(struct json_object *spec, const char *text, size_t len,
			struct json_object **ret, struct err *e) MUST_CHECK;

#endif
