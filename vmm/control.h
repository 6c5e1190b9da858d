/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket of `vmm run`: a Unix socket of packets (SOCK_SEQPACKET). Each packet of a client
 * is one JSON object {"command":"info", ...}, maybe with an open file; each is answered by one packet,
 * {"ok":true,"result":{...}} or {"ok":false,"error":"one sentence"}. `vmm ctl` is the client.
 *
 * All on the loop's thread.
 */
#ifndef HUSK_VMM_CONTROL_H
#define HUSK_VMM_CONTROL_H

#include <json-c/json.h>
#include "base/err.h"
#include "base/loop.h"
#include "vmm/machine.h"
#include "vmm/run.h"

#define CONTROL_PACKET_MAX 16384u

/*
 * The path of a machine's socket: @where itself when it has a slash in it, else a name below the user's
 * directory of running machines (/run/vmm or $XDG_RUNTIME_DIR/vmm, which is made with @make).
 */
int control_path(const char *where, bool make, char *ret, size_t cap, struct err *e) MUST_CHECK;

struct control_config {
	const struct run_config *run;
	struct loop *loop;
	struct machine *machine;
	struct report *report;
	void (*stop)(void *ctx); /* somebody wants the machine to end */
	void *ctx;
};
struct control;
/* Makes the socket. A dead one of that name is replaced, one that is answered is not. */
int control_new(struct control **ret, const char *where, const struct control_config *cfg,
		struct err *e) MUST_CHECK;
/* The machine's memory has changed (machine_config). NULL is fine. */
void control_memory_changed(struct control *c);
/* Takes the socket away and cancels; control_free() when the loop has been freed. NULL is fine. */
void control_close(struct control *c);
void control_free(struct control *c);

/* ---- between control.c and control_cmds.c --------------------------------------------------------- */
struct control_client;
/* Does what a packet asks for, or begins to; ends in one control_answer(). */
void control_do(struct control_client *cl, struct json_object *req);
/* Answers with @result (taken; NULL: an empty object), or with the error when @e has one. */
void control_answer(struct control_client *cl, struct json_object *result, const struct err *e);
const struct control_config *control_of(const struct control_client *cl);
/* The file that came with the request, or -1; the caller's from then on. */
int control_take_fd(struct control_client *cl);
/* The same, but it stays the client's until control_answer(). */
int control_peek_fd(const struct control_client *cl);
/* @fn comes when the guest's memory has changed, or after @ns at the latest. */
void control_await_memory(struct control_client *cl, uint64_t ns,
			  void (*fn)(struct control_client *cl));

#endif
