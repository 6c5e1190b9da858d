/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's network: what the host's network name space of the sandbox has, the guest gets. The
 * host describes the whole of it in each SETUPINTERFACE (docs/agent-protocol.md); what is there by
 * an earlier one and not named any more goes, and nothing else is touched: containers may have
 * interfaces, addresses and routes of their own.
 */
#ifndef HUSK_AGENT_NET_H
#define HUSK_AGENT_NET_H

#include "agent/agent.h"
#include "agent/js.h"
#include "agent/nl.h"

/* The request. Answers when it is done, from a child: a driver may take its time. */
void net_setup(struct agent *a, uint32_t req, struct json_object *o);

/* In a child: from what @old asked for (NULL = nothing) to what @now does. */
int net_apply(struct json_object *old, struct json_object *now, struct err *e) MUST_CHECK;

/* ---- net_msg.c: the messages; pure ------------------------------------------------------------- */

typedef unsigned (*net_index_fn)(const char *name); /* if_nametoindex(3): 0 = not there */

/*
 * An interface's MTU, MAC, NOARP and kind of IPv6 addresses: before it comes up, when the kernel would
 * give it one.
 */
int netmsg_link(struct nlm *m, struct json_object *o, unsigned ifindex, struct err *e) MUST_CHECK;
void netmsg_rename(struct nlm *m, unsigned ifindex, const char *name); /* sets it down, too */
void netmsg_up(struct nlm *m, unsigned ifindex, bool up);
/* @del: the message that takes it away again. */
int netmsg_addr(struct nlm *m, struct json_object *o, unsigned ifindex, bool del,
		struct err *e) MUST_CHECK;
int netmsg_route(struct nlm *m, struct json_object *o, net_index_fn index, bool del,
		 struct err *e) MUST_CHECK;
int netmsg_neigh(struct nlm *m, struct json_object *o, net_index_fn index, bool del,
		 struct err *e) MUST_CHECK;
/* "02:42:ac:11:00:02"; -EINVAL for anything else. */
int netmsg_mac(const char *s, uint8_t out[6]) MUST_CHECK;

#endif
