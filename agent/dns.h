/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Docker's embedded name server. dockerd answers at 127.0.0.11 in the host's network name space of the
 * container, which a guest's loopback does not reach. So the agent listens at 127.0.0.11:53 in the
 * guest and hands each question to the sandbox process as an event; the answer comes back as
 * DNSANSWER. By UDP, and by TCP after a truncated answer: a connection, a question, an answer, the end.
 */
#ifndef HUSK_AGENT_DNS_H
#define HUSK_AGENT_DNS_H

#include "agent/agent.h"
#include "agent/js.h"

#define DNS_OPEN_MAX 64u   /* questions without an answer; older than DNS_OLD_NS make room */
#define DNS_LEN_MAX  4096u /* bytes of a question */
#define DNS_TCP_MAX  8u	   /* connections; the oldest makes room */

/* Loop thread. On: listens, unless it does already; where the address is taken, nobody does. */
void dns_set(struct agent *a, bool on);
/* The request DNSANSWER. */
void dns_answer(struct agent *a, uint32_t req, struct json_object *o);

#endif
