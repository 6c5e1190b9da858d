/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to the agent that have no answer yet. Each has a limit of time, so that nobody waits for
 * a guest that has fallen silent: its owner is told then as if the agent had refused, and an answer
 * that comes later is only looked at for what it may have left behind (box_late_fn).
 *
 * Time in which the guest stands still by our own doing does not count: wants_ops.still tells.
 *
 * In memory of its owner; loop thread.
 */
#ifndef HUSK_RUNTIME_WANTS_H
#define HUSK_RUNTIME_WANTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/loop.h"
#include "mux/link.h"

#define WANTS_MAX 4096u /* clients cannot pile up more */

struct box; /* the owner: only passed on */
struct json_object;

/* The agent's answer to a request. */
struct box_reply {
	bool ok;
	struct json_object *o; /* NULL = an empty one, or none at all */
	const char *json;      /* the same as text; "" */
	size_t len;
	const char *text; /* of a refusal: one sentence; NULL when ok */
	int status;	  /* of a refusal: what a caller is to exit with */
};

/* Called once for each request that was sent, at the end (wants_give_up()) at the latest. It may ask for more. */
typedef void box_reply_fn(struct box *b, uint64_t arg, const struct box_reply *r);
/* The agent has done after all what was given up: to be undone. */
typedef void box_late_fn(struct box *b, uint64_t arg);

struct wants_ops {
	/* Does the guest stand still, for a command that @woke it or not? NULL: never. */
	bool (*still)(struct box *b, uint32_t cmd, bool woke);
	/* Around each request: true when it made the guest run, and rest() has to follow. NULL: no. */
	bool (*wake)(struct box *b);
	void (*rest)(struct box *b);
};

struct wants_ask {
	uint32_t cmd;
	const char *json; /* NULL = nothing */
	box_reply_fn *fn;
	box_late_fn *late; /* NULL: nothing is left behind */
	uint64_t arg;
	uint64_t extra_ns; /* beyond the command's own limit: what is to run meanwhile */
};

struct want {
	uint32_t id, cmd;
	box_reply_fn *fn; /* NULL: given up, only `late` waits for the answer */
	box_late_fn *late;
	uint64_t arg;
	uint64_t span, until; /* ns; until: of clock_ns() */
	bool woke;
};

struct wants {
	struct loop *loop;
	struct link *link; /* may come after wants_init() */
	const struct wants_ops *ops;
	struct box *box;
	uint64_t scale_ns; /* a second, but in tests */
	struct want *v;
	size_t cnt, cap;
	uint64_t timer_at; /* what the timer runs for; 0 = it does not */
	struct loop_timer timer;
};

void wants_init(struct wants *w, struct loop *loop, const struct wants_ops *ops, struct box *b);
/* Frees, without telling anybody; after wants_give_up(), or where nobody is left to hear. The loop
 * runs no more. Zeroed memory is fine. */
void wants_free(struct wants *w);
/* Sends @a. 0, and its fn will be called once; or -errno, and it will not. */
int wants_send(struct wants *w, const struct wants_ask *a) MUST_CHECK;
/* An answer from the link. One that nobody waits for, a faulty agent's, is dropped. */
void wants_reply(struct wants *w, uint32_t id, bool ok, const char *json, size_t len);
/* There will be no more answers: all are told @why. */
void wants_give_up(struct wants *w, const char *why);
/* The guest goes on: everything that waits gets its whole time again. */
void wants_restart(struct wants *w);
/* Seconds that the agent has for a command. */
unsigned wants_limit(uint32_t cmd);

#endif
