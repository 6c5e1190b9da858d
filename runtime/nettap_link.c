/* SPDX-License-Identifier: Apache-2.0 */
/* See nettap_link.h. rtnetlink(7). */
#include "runtime/nettap_link.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>
#include <stdio.h>

#include "runtime/nettap.h"

#define NO_ADDRS 1 /* IN6_ADDR_GEN_MODE_NONE */

struct nl_sock *nettap_socket(struct err *e)
{
	struct nl_sock *sk = nl_socket_alloc();
	int rc = sk ? nl_connect(sk, NETLINK_ROUTE) : -NLE_NOMEM;

	if (rc == 0)
		return sk;
	nl_socket_free(sk);
	err_sys(e, netscan_errno(rc), "netlink");
	return NULL;
}

int nettap_send(struct nl_sock *sk, struct nl_msg *m)
{
	struct nlmsghdr *h = nlmsg_hdr(m);
	int rc;

	h->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	rc = nl_send_auto(sk, m);
	if (rc >= 0)
		rc = nl_wait_for_ack(sk);
	return rc < 0 ? netscan_errno(rc) : 0;
}

struct nl_msg *nettap_msg(int type, int flags, const void *body, size_t len)
{
	struct nl_msg *m = nlmsg_alloc_simple(type, flags);

	if (m && nlmsg_append(m, (void *)(uintptr_t)body, len, NLMSG_ALIGNTO) < 0) {
		nlmsg_free(m);
		return NULL;
	}
	return m;
}

/* ---- links --------------------------------------------------------------------------------------- */

int nettap_index(struct nl_sock *sk, const char *name)
{
	auto_link l = NULL;
	int rc = rtnl_link_get_kernel(sk, 0, name, &l);

	return rc < 0 ? netscan_errno(rc) : rtnl_link_get_ifindex(l);
}

static void put_no_addrs(struct nl_msg *m)
{
	struct nlattr *spec = nla_nest_start(m, IFLA_AF_SPEC);
	struct nlattr *v6 = spec ? nla_nest_start(m, AF_INET6) : NULL;

	if (!v6)
		return;
	(void)nla_put_u8(m, IFLA_INET6_ADDR_GEN_MODE, NO_ADDRS);
	nla_nest_end(m, v6);
	nla_nest_end(m, spec);
}

/* Without addresses of its own: the host's stack is not to talk to the guest through it. */
int nettap_configure(struct nl_sock *sk, int ifindex, unsigned mtu, int master)
{
	struct ifinfomsg ifi = {.ifi_index = ifindex};
	auto_msg m = nettap_msg(RTM_NEWLINK, 0, &ifi, sizeof(ifi));

	if (!m)
		return -ENOMEM;
	if (mtu)
		(void)nla_put_u32(m, IFLA_MTU, mtu);
	if (master)
		(void)nla_put_u32(m, IFLA_MASTER, (uint32_t)master);
	else
		put_no_addrs(m);
	return nettap_send(sk, m);
}

/* What an interface of ours says of itself; IFALIASZ is 256. */
void nettap_alias(char alias[NETTAP_ALIAS_LEN], const char *owner)
{
	(void)snprintf(alias, NETTAP_ALIAS_LEN, "%s", owner);
}

/* Linux heeds an alias of a link that is there only, not of one that is made. */
int nettap_set_owner(struct nl_sock *sk, int ifindex, const char *owner)
{
	struct ifinfomsg ifi = {.ifi_index = ifindex};
	auto_msg m = nettap_msg(RTM_NEWLINK, 0, &ifi, sizeof(ifi));
	char alias[NETTAP_ALIAS_LEN];

	nettap_alias(alias, owner);
	if (!m || nla_put_string(m, IFLA_IFALIAS, alias) < 0)
		return -ENOMEM;
	return nettap_send(sk, m);
}

int nettap_set_flags(struct nl_sock *sk, int ifindex, unsigned flags)
{
	struct ifinfomsg ifi = {.ifi_index = ifindex, .ifi_flags = flags, .ifi_change = flags};
	auto_msg m = nettap_msg(RTM_NEWLINK, 0, &ifi, sizeof(ifi));

	return m ? nettap_send(sk, m) : -ENOMEM;
}

int nettap_set_up(struct nl_sock *sk, int ifindex)
{
	return nettap_set_flags(sk, ifindex, IFF_UP);
}

int nettap_del_link(struct nl_sock *sk, int ifindex)
{
	struct ifinfomsg ifi = {.ifi_index = ifindex};
	auto_msg m = nettap_msg(RTM_DELLINK, 0, &ifi, sizeof(ifi));

	return m ? nettap_send(sk, m) : -ENOMEM;
}

void nettap_name(char name[IFNAMSIZ], const char *kind, int ifindex)
{
	(void)snprintf(name, IFNAMSIZ, NETSCAN_OURS "%.3s%x", kind, (unsigned)ifindex & 0xfffffff);
}

int nettap_gone(const struct netscan_link *l, int rc, const char *what, struct err *e)
{
	if (rc == -ENODEV || rc == -ENOENT)
		return err_set(e, -ENODEV, "interface '%s' went away while it was plugged in",
			       l->name);
	return err_sys(e, rc, "interface '%s': %s", l->name, what);
}
