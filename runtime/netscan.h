/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is in the sandbox's network name space: interfaces with their addresses, routes, permanent
 * neighbours, as the JSON that the agent takes (docs/agent-protocol.md, SETUPINTERFACE). Read by
 * rtnetlink through libnl. No state; the network watcher's thread (netwatch.h).
 */
#ifndef HUSK_RUNTIME_NETSCAN_H
#define HUSK_RUNTIME_NETSCAN_H

#include <net/if.h>
#include <netlink/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "runtime/json.h"

#define NETSCAN_OURS "husk-" /* what the names of our own interfaces begin with */

struct netscan_link {
	int ifindex;
	char name[IFNAMSIZ];
	uint8_t mac[6];
	unsigned mtu;
	struct json_object *doc; /* of "interfaces", but for "device" */
};

struct netscan {
	struct netscan_link *link;
	size_t cnt;
	struct json_object *routes, *neighbours; /* arrays */
	char alien[IFNAMSIZ]; /* an interface in use that is not Ethernet; empty = none */
};

/*
 * Reads everything through @sk, a connected NETLINK_ROUTE socket. Left out: lo, our own interfaces,
 * those that belong to somebody else's bridge or bond, those that are down without an address. 0 or -errno with a
 * sentence; @ret is to be freed in both cases.
 */
int netscan_read(struct nl_sock *sk, struct netscan *ret, struct err *e) MUST_CHECK;
void netscan_free(struct netscan *s);

/* -errno of what libnl returned (NLE_*, negative). */
int netscan_errno(int nlerr);

#endif
