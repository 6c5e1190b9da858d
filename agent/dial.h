/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DIAL: a connection of the host to a port of the guest's own, at localhost or at one of its interfaces'
 * addresses. Somebody on the host has connected to the same address of the network name space (an
 * engine that forwards a port); the bytes go over a stream of the link, as a process's stdin and stdout
 * do. Loop thread.
 */
#ifndef HUSK_AGENT_DIAL_H
#define HUSK_AGENT_DIAL_H

#include "agent/agent.h"
#include "agent/js.h"
#include "agent/streams.h"

void dial_request(struct agent *a, uint32_t req, struct json_object *o);
/* The streams of the connection that has @stream, or NULL. */
struct streams *dial_streams(struct agent *a, uint64_t stream);
/* A direction may have ended: frees the connection when both have. */
void dial_progress(struct streams *s);

#endif
