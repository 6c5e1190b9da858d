/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CLI's side of a sandbox process's socket: one PROXY_HUSK command and its answer. Blocking.
 */
#ifndef HUSK_RUNTIME_CLIENT_H
#define HUSK_RUNTIME_CLIENT_H

#include "base/err.h"
#include "runtime/json.h"

/*
 * Connects to STATE_SOCK in the state directory @dir, sends @request and waits for the answer
 * without a limit of time (the sandbox process has its own). 0; -ECONNREFUSED without a sentence
 * when nobody is there (any more); else the sandbox's sentence in @e and the exit status for it in
 * *ret_status.
 */
int client_call(int dir, struct json_object *request, int *ret_status, struct err *e) MUST_CHECK;

#endif
