/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pausing a sandbox. Two things stand still, one after the other: the container's processes, frozen
 * by the agent, which also writes out what file systems hold back; then the vCPUs.
 *
 *             pause             agent: frozen         vCPUs parked
 *   ACTIVE ----------> FREEZING -------------> PARKING -----------> PAUSED
 *     ^  refused, late    |                       | late              | resume
 *     +-------------------+-----------------------+                   v
 *     +--------------------------------------------------------- THAWING
 *                                agent: thawed
 *
 * Behind the closed gate there is nothing to freeze, but for execs: only the vCPUs stop, and start
 * is refused.
 *
 * A container that the agent cannot let go on stays paused, and resume can be tried again.
 *
 * The agent is still of use to a paused container: a signal has to get to where it waits for the
 * processes, limits change, figures are read. So a request wakes the vCPUs, and when the last one is
 * answered they stop again; the frozen processes see nothing of it. SIGKILL for the container and
 * its end break the pause. Loop thread.
 */
#ifndef HUSK_RUNTIME_BOX_PAUSE_H
#define HUSK_RUNTIME_BOX_PAUSE_H

#include <stdbool.h>
#include <stdint.h>
#include "base/loop.h"
#include "mux/proxy.h"

struct box;

enum pause_step { PAUSE_NONE, PAUSE_FREEZING, PAUSE_PARKING, PAUSE_DONE, PAUSE_THAWING };

struct box_pause {
	enum pause_step step;
	bool frozen;	 /* the agent has done its part */
	proxy_req_t req; /* who waits; 0 = nobody */
	uint64_t gen;	 /* of the attempt: late answers to an earlier one do not count */
	uint64_t until;	 /* 0 = no limit of time */
	unsigned awake;	 /* requests for which the vCPUs run */
	struct loop_timer timer;
};

void box_pause_init(struct box *b);
/* From `husk pause` until `husk resume`: exec and start are refused. */
bool box_is_paused(const struct box *b);
/* The container ends or is killed: the guest has to run. */
void box_pause_break(struct box *b);
/* Around a request to the agent: true when it made the vCPUs run, and box_pause_rest() has to follow. */
bool box_pause_wake(struct box *b);
void box_pause_rest(struct box *b);

#endif
