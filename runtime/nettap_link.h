/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages of rtnetlink, and the links that nettap.c makes: what all models need. All in the name space that @sk was
 * opened in, by the network watcher's thread or by `husk delete`. Functions that return int: 0 or -errno, unless said.
 */
#ifndef HUSK_RUNTIME_NETTAP_LINK_H
#define HUSK_RUNTIME_NETTAP_LINK_H

#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>

#include "base/compiler.h"
#include "base/err.h"
#include "runtime/netscan.h"

static inline void nettap_msg_put(struct nl_msg **m)
{
	nlmsg_free(*m);
}
#define auto_msg CLEANUP(nettap_msg_put) struct nl_msg *

static inline void nettap_link_put(struct rtnl_link **l)
{
	rtnl_link_put(*l);
}
#define auto_link CLEANUP(nettap_link_put) struct rtnl_link *

/* A message with its fixed part, the caller's; NULL: out of memory. */
struct nl_msg *nettap_msg(int type, int flags, const void *body, size_t len);
/* Sends it and waits for the answer; it stays the caller's. */
int nettap_send(struct nl_sock *sk, struct nl_msg *m) MUST_CHECK;

/* The number of the interface of that name, or -errno. */
int nettap_index(struct nl_sock *sk, const char *name) MUST_CHECK;
/* @mtu, @master: 0 = as it is. Without a master it gets no addresses of its own. */
int nettap_configure(struct nl_sock *sk, int ifindex, unsigned mtu, int master) MUST_CHECK;
int nettap_set_flags(struct nl_sock *sk, int ifindex, unsigned flags) MUST_CHECK;
int nettap_set_up(struct nl_sock *sk, int ifindex) MUST_CHECK;
int nettap_del_link(struct nl_sock *sk, int ifindex) MUST_CHECK;

/* What an interface of ours says of itself, as its alias; the kernel's IFALIASZ is 256. */
#define NETTAP_ALIAS_LEN 200
void nettap_alias(char alias[NETTAP_ALIAS_LEN], const char *owner);
int nettap_set_owner(struct nl_sock *sk, int ifindex, const char *owner) MUST_CHECK;
/* Our name for what belongs to interface @ifindex. */
void nettap_name(char name[IFNAMSIZ], const char *kind, int ifindex);
/* The sentence for @rc while @what was done to @l, which may be gone. Returns the code. */
int nettap_gone(const struct netscan_link *l, int rc, const char *what, struct err *e);

#endif
