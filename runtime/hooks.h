/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OCI hooks: programs of the host that run at points of a container's life, with its state on
 * stdin.
 */
#ifndef HUSK_RUNTIME_HOOKS_H
#define HUSK_RUNTIME_HOOKS_H

#include "base/err.h"
#include "runtime/json.h"

/*
 * Runs all hooks of hooks.<@name> in order and waits for each. @state is the document for stdin,
 * @dir the working directory (NULL = as it is). A failure ends the row: -ECANCELED with the hook's
 * name, status and the end of its output. Single-threaded callers only (it forks).
 */
int hooks_run(struct json_object *spec, const char *name, struct json_object *state,
	      const char *dir, struct err *e) MUST_CHECK;
/* As hooks_run(), but a failure is only logged and the next one runs: for poststop. */
void hooks_run_all(struct json_object *spec, const char *name, struct json_object *state);

#endif
