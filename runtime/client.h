/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CLI's side of a sandbox process's socket: one PROXY_HUSK command and its answer. Blocking.
 */
#ifndef HUSK_RUNTIME_CLIENT_H
#define HUSK_RUNTIME_CLIENT_H

#include "base/err.h"
#include "runtime/json.h"

/*
 * The sandbox process limits what it waits for itself; here only its own silence is found out (it was
 * stopped, say). After quiet_ms without an answer it is asked whether it is still at work, again and
 * again, and has ping_ms to say so. Tests make both shorter.
 */
extern struct client_limits {
	int quiet_ms, ping_ms;
} client_limits;

/*
 * Connects to STATE_SOCK in the state directory @dir, sends @request and waits for the answer
 * as long as the sandbox process is at work at all (its own waits have limits). 0; -ECONNREFUSED without a sentence
 * when nobody is there (any more); -ESHUTDOWN for a refusal with which the sandbox process ends, else
 * -EREMOTEIO: the sandbox's sentence in @e and the exit status for it in *ret_status.
 */
int client_call(int dir, struct json_object *request, int *ret_status, struct err *e) MUST_CHECK;

/*
 * The same, with the answer: *ret is a new reference, NULL for an empty answer and for a refusal.
 */
int client_query(int dir, struct json_object *request, struct json_object **ret, int *ret_status,
		 struct err *e) MUST_CHECK;

/*
 * The parts, for a connection that goes on after its first answer. Connects: the descriptor, or
 * -ECONNREFUSED without a sentence, or another code with one.
 */
int client_dial(int dir, struct err *e) MUST_CHECK;
/* Sends @request with @nfds descriptors on @sock and reads exactly its answer. As client_query(). */
int client_ask(int dir, int sock, struct json_object *request, const int *fds, unsigned nfds,
	       struct json_object **ret, int *ret_status, struct err *e) MUST_CHECK;

#endif
