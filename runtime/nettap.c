/* SPDX-License-Identifier: Apache-2.0 */
/* See nettap.h. rtnetlink(7), and the kernel's uapi headers of what is behind it. */
#include "runtime/nettap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_mirred.h>
#include <netlink/msg.h>
#include <netlink/route/link.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "runtime/netown.h"
#include "runtime/nettap_link.h"

#define INGRESS	  TC_H_MAKE(TC_H_INGRESS, 0u)
#define OUR_MARK  0x6875736bu /* handle of our filters, "husk": how they are known again */
#define OUR_PRIO  0x6873u     /* of the last: behind whatever somebody else puts there */
#define ARP_PRIO  0x6870u     /* of those before it; each protocol wants one of its own */
#define NDP_PRIO  0x6871u
#define OWN_PRIO  0x6872u
#define PASSTHRU  8u /* MACVLAN_MODE_PASSTHRU */
#define NODE_MODE (O_RDWR | O_NONBLOCK | O_CLOEXEC)

/* ---- taps ---------------------------------------------------------------------------------------- */

static int open_tun(const struct nettap_env *env)
{
	char number[16];
	int fd;

	(void)snprintf(number, sizeof(number), "%d", env->tun_fd);
	fd = openat(env->proc_fd, number, NODE_MODE);
	return fd < 0 ? -errno : fd;
}

static void close_all(int *fds, unsigned cnt)
{
	for (unsigned i = 0; i < cnt; i++)
		fd_close(&fds[i]);
}

static int make_tap(const struct nettap_env *env, const struct netscan_link *l, int *fds,
		    struct err *e)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};

	nettap_name(ifr.ifr_name, "tap", l->ifindex);
	if (env->queues > 1)
		ifr.ifr_flags |= IFF_MULTI_QUEUE;
	for (unsigned i = 0; i < env->queues; i++) {
		int rc = 0;

		fds[i] = open_tun(env);
		if (fds[i] < 0)
			/* ENODEV, a host without the driver, would say that the interface has gone. */
			rc = err_sys(e, fds[i] == -ENODEV ? -ENXIO : fds[i],
				     "interface '%s': /dev/net/tun", l->name);
		else if (ioctl(fds[i], TUNSETIFF, &ifr) < 0)
			rc = errno == EBUSY
				 ? err_set(e, -EBUSY,
					   "interface '%s' is another microVM's already (%s)",
					   l->name, ifr.ifr_name)
				 : err_sys(e, -errno, "interface '%s': making tap '%s'", l->name,
					   ifr.ifr_name);
		if (rc < 0) {
			close_all(fds, i + 1);
			return rc;
		}
	}
	return 0;
}

static int set_mtu_failed(const struct netscan_link *l, int rc, struct err *e)
{
	if (rc == -EINVAL || rc == -ERANGE)
		return err_set(e, -EINVAL, "interface '%s': an MTU of %u is more than a tap takes",
			       l->name, l->mtu);
	return err_sys(e, rc, "interface '%s': setting up its tap", l->name);
}

/* ---- tc ------------------------------------------------------------------------------------------ */

static struct nl_msg *tc_msg(int type, int flags, int ifindex, uint32_t parent, uint32_t handle,
			     uint32_t info)
{
	struct tcmsg t = {.tcm_family = AF_UNSPEC,
			  .tcm_ifindex = ifindex,
			  .tcm_parent = parent,
			  .tcm_handle = handle,
			  .tcm_info = info};

	return nettap_msg(type, flags, &t, sizeof(t));
}

static int add_ingress(struct nl_sock *sk, int ifindex)
{
	auto_msg m =
	    tc_msg(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, ifindex, TC_H_INGRESS, INGRESS, 0);

	if (!m || nla_put_string(m, TCA_KIND, "ingress") < 0)
		return -ENOMEM;
	return nettap_send(sk, m);
}

static int del_ingress(struct nl_sock *sk, int ifindex)
{
	auto_msg m = tc_msg(RTM_DELQDISC, 0, ifindex, TC_H_INGRESS, INGRESS, 0);

	if (!m || nla_put_string(m, TCA_KIND, "ingress") < 0)
		return -ENOMEM;
	return nettap_send(sk, m);
}

/* A packet goes to interface @to; with @copy it goes on to the host's stack as well. */
static int put_mirred(struct nl_msg *m, int to, bool copy)
{
	struct tc_mirred parm = {.action = copy ? TC_ACT_OK : TC_ACT_STOLEN,
				 .eaction = copy ? TCA_EGRESS_MIRROR : TCA_EGRESS_REDIR,
				 .ifindex = (uint32_t)to};
	struct nlattr *first = nla_nest_start(m, 1), *opts;

	if (!first || nla_put_string(m, TCA_ACT_KIND, "mirred") < 0)
		return -ENOMEM;
	opts = nla_nest_start(m, TCA_ACT_OPTIONS);
	if (!opts || nla_put(m, TCA_MIRRED_PARMS, sizeof(parm), &parm) < 0)
		return -ENOMEM;
	nla_nest_end(m, opts);
	nla_nest_end(m, first);
	return 0;
}

static struct nl_msg *filter_msg(const char *kind, int ifindex, uint32_t handle, uint32_t prio,
				 uint16_t proto)
{
	struct nl_msg *m = tc_msg(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, ifindex, INGRESS,
				  handle, TC_H_MAKE(prio << 16, htons(proto)));

	if (m && nla_put_string(m, TCA_KIND, kind) == 0)
		return m;
	nlmsg_free(m);
	return NULL;
}

/* Everything. */
static int add_matchall(struct nl_sock *sk, int from, int to)
{
	auto_msg m = filter_msg("matchall", from, OUR_MARK, OUR_PRIO, ETH_P_ALL);
	struct nlattr *opts, *acts;

	opts = m ? nla_nest_start(m, TCA_OPTIONS) : NULL;
	acts = opts ? nla_nest_start(m, TCA_MATCHALL_ACT) : NULL;
	if (!acts || put_mirred(m, to, false) < 0)
		return -ENOMEM;
	nla_nest_end(m, acts);
	nla_nest_end(m, opts);
	return nettap_send(sk, m);
}

struct u32_match {
	uint32_t prio;
	uint16_t proto;
	unsigned cnt;
	struct tc_u32_key key[2];
};

static int add_u32(struct nl_sock *sk, int from, int to, const struct u32_match *u, bool copy)
{
	const struct tc_u32_sel sel = {.flags = TC_U32_TERMINAL, .nkeys = (unsigned char)u->cnt};
	uint8_t all[sizeof(sel) + sizeof(u->key)];
	auto_msg m = filter_msg("u32", from, 0, u->prio, u->proto);
	struct nlattr *opts, *acts;

	memcpy(all, &sel, sizeof(sel));
	memcpy(all + sizeof(sel), u->key, sizeof(u->key));
	opts = m ? nla_nest_start(m, TCA_OPTIONS) : NULL;
	if (!opts ||
	    nla_put(m, TCA_U32_SEL, (int)(sizeof(sel) + u->cnt * sizeof(u->key[0])), all) < 0)
		return -ENOMEM;
	acts = nla_nest_start(m, TCA_U32_ACT);
	if (!acts || put_mirred(m, to, copy) < 0)
		return -ENOMEM;
	nla_nest_end(m, acts);
	nla_nest_end(m, opts);
	return nettap_send(sk, m);
}

static int add_own(struct nl_sock *sk, int from, int prog)
{
	auto_msg m = filter_msg("bpf", from, OUR_MARK, OWN_PRIO, ETH_P_ALL);
	struct nlattr *opts = m ? nla_nest_start(m, TCA_OPTIONS) : NULL;

	if (!opts || nla_put_u32(m, TCA_BPF_FD, (uint32_t)prog) < 0 ||
	    nla_put_string(m, TCA_BPF_NAME, "husk-own") < 0 ||
	    nla_put_u32(m, TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT) < 0)
		return -ENOMEM;
	nla_nest_end(m, opts);
	return nettap_send(sk, m);
}

/*
 * What answers the name space's own sockets goes to them (netown.h); and for its stack to send
 * anything, answers of neighbours go to both.
 */
static int keep_own(struct nl_sock *sk, int from, int to, int prog)
{
	/* RFC 826: operation 2, a reply. RFC 4861, 4.4: ICMPv6 (58) of type 136. */
	const struct u32_match arp = {.prio = ARP_PRIO,
				      .proto = ETH_P_ARP,
				      .cnt = 1,
				      .key = {{.mask = htonl(0xffff), .val = htonl(2), .off = 4}}};
	const struct u32_match ndp = {
	    .prio = NDP_PRIO,
	    .proto = ETH_P_IPV6,
	    .cnt = 2,
	    .key = {{.mask = htonl(0xff00), .val = htonl(0x3a00), .off = 4},
		    {.mask = htonl(0xff000000), .val = htonl(0x88000000), .off = 40}}};
	int rc = add_own(sk, from, prog);

	if (rc == 0)
		rc = add_u32(sk, from, to, &arp, true);
	return rc == 0 ? add_u32(sk, from, to, &ndp, true) : rc;
}

static int redirect(struct nl_sock *sk, int from, int to)
{
	/* A key that fits everything, for kernels without cls_matchall. */
	static const struct u32_match all = {.prio = OUR_PRIO, .proto = ETH_P_ALL, .cnt = 1};
	int rc = add_matchall(sk, from, to);

	return rc == -ENOENT || rc == -ENOTSUP ? add_u32(sk, from, to, &all, false) : rc;
}

static int seen_filter(struct nl_msg *m, void *arg)
{
	const struct tcmsg *t = nlmsg_data(nlmsg_hdr(m));
	bool *ours = arg;

	if (nlmsg_hdr(m)->nlmsg_type == RTM_NEWTFILTER &&
	    nlmsg_datalen(nlmsg_hdr(m)) >= (int)sizeof(*t) &&
	    (TC_H_MAJ(t->tcm_info) >> 16 == OUR_PRIO || TC_H_MAJ(t->tcm_info) >> 16 == OWN_PRIO))
		*ours = true;
	return NL_OK;
}

/* Is the ingress qdisc of this interface one of ours? */
static bool is_ours(struct nl_sock *sk, int ifindex)
{
	auto_msg m = tc_msg(RTM_GETTFILTER, NLM_F_DUMP, ifindex, INGRESS, 0, 0);
	struct nl_cb *cb = nl_cb_alloc(NL_CB_DEFAULT);
	bool ours = false;

	if (m && cb && nl_send_auto(sk, m) >= 0) {
		(void)nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, seen_filter, &ours);
		(void)nl_recvmsgs(sk, cb);
	}
	nl_cb_put(cb);
	return ours;
}

static int take_ingress(struct nl_sock *sk, const struct netscan_link *l, int ifindex,
			struct err *e)
{
	int rc = add_ingress(sk, ifindex);

	/* One of a sandbox that was killed: the tap that it led to is gone, or ours were refused. */
	if (rc == -EEXIST && is_ours(sk, ifindex)) {
		(void)!del_ingress(sk, ifindex);
		rc = add_ingress(sk, ifindex);
	}
	if (rc == -EEXIST)
		return err_set(e, rc, "interface '%s' has an ingress qdisc already", l->name);
	return rc < 0 ? nettap_gone(l, rc, "adding an ingress qdisc", e) : 0;
}

static int plug_tc(const struct nettap_env *env, const struct netscan_link *l, int tap,
		   struct err *e)
{
	int rc = take_ingress(env->sk, l, l->ifindex, e);

	if (rc < 0)
		return rc;
	rc = add_ingress(env->sk, tap);
	if (rc == 0)
		rc = redirect(env->sk, tap, l->ifindex);
	if (rc == 0 && env->own_fd >= 0) {
		rc = keep_own(env->sk, l->ifindex, tap, env->own_fd);
		if (rc == -ENOENT || rc == -ENOTSUP) { /* classifiers that this kernel lacks */
			log_warn("interface '%s': sockets of its name space get no answers: %s",
				 l->name, strerror(-rc));
			rc = 0;
		}
	}
	if (rc == 0)
		rc = redirect(env->sk, l->ifindex, tap);
	if (rc == 0)
		return 0;
	(void)!del_ingress(env->sk, l->ifindex);
	return nettap_gone(l, rc, "redirecting its packets", e);
}

int nettap_plug_lo(const struct nettap_env *env, struct err *e)
{
	static const struct netscan_link lo = {.ifindex = NETOWN_LO, .name = "lo"};
	int rc = take_ingress(env->sk, &lo, NETOWN_LO, e);

	if (rc < 0)
		return rc;
	rc = add_own(env->sk, NETOWN_LO, env->own_fd);
	if (rc == 0)
		return 0;
	(void)!del_ingress(env->sk, NETOWN_LO);
	return err_sys(e, rc, "interface 'lo': its filter");
}

void nettap_unplug_lo(const struct nettap_env *env)
{
	(void)!del_ingress(env->sk, NETOWN_LO);
}

/* ---- bridge -------------------------------------------------------------------------------------- */

/*
 * A bridge of two ports that learns nothing and floods: a wire. It takes the packets for its ports'
 * own MACs for itself, so the interface's MAC is taken out of its table, which is what lets the
 * guest have that MAC without the interface losing it.
 */
static int forget_mac(struct nl_sock *sk, const struct netscan_link *l)
{
	struct ndmsg nd = {.ndm_family = AF_BRIDGE,
			   .ndm_ifindex = l->ifindex,
			   .ndm_state = NUD_PERMANENT,
			   .ndm_flags = NTF_MASTER};
	auto_msg m = nettap_msg(RTM_DELNEIGH, 0, &nd, sizeof(nd));

	if (!m || nla_put(m, NDA_LLADDR, sizeof(l->mac), l->mac) < 0)
		return -ENOMEM;
	return nettap_send(sk, m);
}

static int make_bridge(struct nl_sock *sk, const char *name, unsigned mtu)
{
	struct ifinfomsg ifi = {0};
	auto_msg m = nettap_msg(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &ifi, sizeof(ifi));
	/* Locally administered, and nobody's. */
	static const uint8_t mac[6] = {0x02, 'h', 'u', 's', 'k', 0};
	struct nlattr *info, *data;

	if (!m || nla_put_string(m, IFLA_IFNAME, name) < 0)
		return -ENOMEM;
	(void)nla_put_u32(m, IFLA_MTU, mtu);
	(void)nla_put(m, IFLA_ADDRESS, sizeof(mac), mac);
	info = nla_nest_start(m, IFLA_LINKINFO);
	if (!info || nla_put_string(m, IFLA_INFO_KIND, "bridge") < 0)
		return -ENOMEM;
	data = nla_nest_start(m, IFLA_INFO_DATA);
	if (!data)
		return -ENOMEM;
	(void)nla_put_u32(m, IFLA_BR_FORWARD_DELAY, 0);
	(void)nla_put_u32(m, IFLA_BR_STP_STATE, 0);
	(void)nla_put_u32(m, IFLA_BR_AGEING_TIME, 0);
	(void)nla_put_u8(m, IFLA_BR_MCAST_SNOOPING, 0);
	/* Otherwise not even link-local multicast (LLDP, LACP) passes. */
	(void)nla_put_u16(m, IFLA_BR_GROUP_FWD_MASK, 0xfff8);
	nla_nest_end(m, data);
	nla_nest_end(m, info);
	return nettap_send(sk, m);
}

static int plug_bridge(const struct nettap_env *env, const struct netscan_link *l, int tap,
		       struct err *e)
{
	char name[IFNAMSIZ];
	int rc, br;

	nettap_name(name, "br", l->ifindex);
	rc = make_bridge(env->sk, name, l->mtu);
	if (rc == -EEXIST) { /* of a sandbox that was killed; a live one's tap would be there */
		br = nettap_index(env->sk, name);
		rc = br < 0 ? br : nettap_del_link(env->sk, br);
		rc = rc < 0 ? rc : make_bridge(env->sk, name, l->mtu);
	}
	if (rc < 0)
		return err_sys(e, rc, "interface '%s': making bridge '%s'", l->name, name);
	br = rc = nettap_index(env->sk, name);
	if (rc > 0)
		rc = nettap_configure(env->sk, br, 0, 0);
	if (rc == 0)
		rc = nettap_configure(env->sk, l->ifindex, 0, br);
	if (rc == 0)
		rc = nettap_configure(env->sk, tap, 0, br);
	if (rc == 0)
		rc = forget_mac(env->sk, l);
	/* The interface keeps its addresses, and the guest alone is to say at which MAC they are. */
	if (rc == 0)
		rc = nettap_set_flags(env->sk, br, IFF_UP | IFF_NOARP);
	if (rc == 0)
		return 0;
	if (br > 0)
		(void)!nettap_del_link(env->sk, br);
	return nettap_gone(l, rc, "bridging it", e);
}

/* ---- macvtap ------------------------------------------------------------------------------------- */

/*
 * A macvtap's node is called after its number (drivers/net/tap.c, macvtap.c), numbers are those of a network name
 * space, and /dev is everybody's: of two with the same number one would have the other's packets. So the number is
 * drawn, out of reach of those that the kernel gives, until no node has it.
 */
#define INDEX_FIRST 0x40000000u
#define INDEX_TRIES 16

static void node_name(char *out, size_t cap, int ifindex)
{
	(void)snprintf(out, cap, "tap%d", ifindex);
}

static int draw_index(const struct nettap_env *env)
{
	for (unsigned i = 0; i < INDEX_TRIES; i++) {
		auto_fd fd = -1;
		char node[24];
		uint32_t n;

		if (getrandom(&n, sizeof(n), 0) != (ssize_t)sizeof(n))
			return -EIO;
		n = INDEX_FIRST | (n % INDEX_FIRST);
		node_name(node, sizeof(node), (int)n);
		fd = openat(env->dev_fd, node, O_PATH | O_CLOEXEC);
		if (fd < 0)
			return errno == ENOENT ? (int)n : -errno;
	}
	return -EEXIST;
}

static int make_macvtap(struct nl_sock *sk, const char *name, int ifindex,
			const struct netscan_link *l)
{
	struct ifinfomsg ifi = {.ifi_index = ifindex};
	auto_msg m = nettap_msg(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &ifi, sizeof(ifi));
	struct nlattr *info, *data;

	if (!m || nla_put_string(m, IFLA_IFNAME, name) < 0)
		return -ENOMEM;
	(void)nla_put_u32(m, IFLA_LINK, (uint32_t)l->ifindex);
	(void)nla_put_u32(m, IFLA_MTU, l->mtu);
	info = nla_nest_start(m, IFLA_LINKINFO);
	if (!info || nla_put_string(m, IFLA_INFO_KIND, "macvtap") < 0)
		return -ENOMEM;
	data = nla_nest_start(m, IFLA_INFO_DATA);
	if (!data)
		return -ENOMEM;
	(void)nla_put_u32(m, IFLA_MACVLAN_MODE, PASSTHRU);
	nla_nest_end(m, data);
	nla_nest_end(m, info);
	return nettap_send(sk, m);
}

/* Of the interface behind an open node, which in passthru mode is the lower one's: a last look at whose it is. */
static bool has_mac(int fd, const uint8_t mac[ETH_ALEN])
{
	struct ifreq ifr = {0};

	return ioctl(fd, SIOCGIFHWADDR, &ifr) == 0 &&
	       memcmp(ifr.ifr_hwaddr.sa_data, mac, ETH_ALEN) == 0;
}

static int open_macvtap(const struct nettap_env *env, const struct netscan_link *l, int ifindex,
			int *fds, struct err *e)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	char node[24];

	if (env->queues > 1)
		ifr.ifr_flags |= IFF_MULTI_QUEUE;
	node_name(node, sizeof(node), ifindex);
	for (unsigned i = 0; i < env->queues; i++) {
		int rc = 0;

		fds[i] = openat(env->dev_fd, node, NODE_MODE);
		if (fds[i] < 0)
			rc = err_sys(e, -errno, "interface '%s': /dev/%s", l->name, node);
		else if (ioctl(fds[i], TUNSETIFF, &ifr) < 0)
			rc = err_sys(e, -errno, "interface '%s': /dev/%s", l->name, node);
		else if (!has_mac(fds[i], l->mac))
			rc = err_set(e, -EBUSY, "interface '%s': /dev/%s is not its macvtap",
				     l->name, node);
		if (rc < 0) {
			close_all(fds, i + 1);
			return rc;
		}
	}
	return 0;
}

static int plug_macvtap(const struct nettap_env *env, const struct netscan_link *l, int *fds,
			struct err *e)
{
	char name[IFNAMSIZ];
	int rc, ifindex;

	nettap_name(name, "mvt", l->ifindex);
	ifindex = draw_index(env);
	if (ifindex < 0)
		return err_sys(e, ifindex, "interface '%s': a number for its macvtap", l->name);
	rc = make_macvtap(env->sk, name, ifindex, l);
	if (rc == -EEXIST || rc == -EBUSY) {
		/* A macvtap outlives its descriptors: one of a dead sandbox cannot be told apart. */
		return err_set(e, -EBUSY, "interface '%s' is another microVM's already (%s)",
			       l->name, name);
	}
	if (rc < 0)
		return nettap_gone(l, rc, "making a macvtap", e);
	rc = nettap_set_owner(env->sk, ifindex, env->owner);
	if (rc == 0)
		rc = nettap_configure(env->sk, ifindex, 0, 0);
	if (rc == 0)
		rc = nettap_set_up(env->sk, ifindex);
	if (rc < 0)
		rc = nettap_gone(l, rc, "setting up its macvtap", e);
	else
		rc = open_macvtap(env, l, ifindex, fds, e);
	if (rc < 0)
		(void)!nettap_del_link(env->sk, ifindex);
	return rc;
}

/* ---- all models ---------------------------------------------------------------------------------- */

int nettap_plug(const struct nettap_env *env, const struct netscan_link *l, int *fds, struct err *e)
{
	char name[IFNAMSIZ];
	int rc, tap;

	if (env->model == NET_MACVTAP)
		return plug_macvtap(env, l, fds, e);
	rc = make_tap(env, l, fds, e);
	if (rc < 0)
		return rc;
	nettap_name(name, "tap", l->ifindex);
	tap = rc = nettap_index(env->sk, name);
	if (rc > 0)
		rc = nettap_configure(env->sk, tap, l->mtu, 0);
	if (rc == 0)
		rc = nettap_set_owner(env->sk, tap, env->owner);
	if (rc == 0)
		rc = nettap_set_up(env->sk, tap);
	if (rc < 0)
		rc = set_mtu_failed(l, rc, e);
	else
		rc = env->model == NET_BRIDGE ? plug_bridge(env, l, tap, e)
					      : plug_tc(env, l, tap, e);
	if (rc < 0)
		close_all(fds, env->queues);
	return rc;
}

int nettap_follow(const struct nettap_env *env, const struct netscan_link *l, struct err *e)
{
	static const char *const kinds[] = {
	    [NET_TC] = "tap", [NET_BRIDGE] = "tap", [NET_MACVTAP] = "mvt"};
	char name[IFNAMSIZ];
	int rc;

	nettap_name(name, kinds[env->model], l->ifindex);
	rc = nettap_index(env->sk, name);
	if (rc > 0)
		rc = nettap_configure(env->sk, rc, l->mtu, 0);
	return rc < 0 ? set_mtu_failed(l, rc, e) : 0;
}

static void del_named(struct nl_sock *sk, const char *kind, int ifindex)
{
	char name[IFNAMSIZ];
	int rc;

	nettap_name(name, kind, ifindex);
	rc = nettap_index(sk, name);
	if (rc > 0)
		(void)!nettap_del_link(sk, rc);
}

void nettap_unplug(const struct nettap_env *env, int ifindex)
{
	if (env->model == NET_TC)
		(void)!del_ingress(env->sk, ifindex);
	else if (env->model == NET_BRIDGE)
		del_named(env->sk, "br", ifindex);
	else if (env->model == NET_MACVTAP)
		del_named(env->sk, "mvt", ifindex);
}

static bool is_owners(struct rtnl_link *l, const char *owner)
{
	const char *is = rtnl_link_get_ifalias(l);
	char alias[NETTAP_ALIAS_LEN];

	nettap_alias(alias, owner);
	return is && !strcmp(is, alias);
}

/*
 * Does a sandbox that lives have this interface? Its tap says so. That of a killed one may be there for a
 * moment longer than its process, since its ring holds it: @owner is known to be dead.
 */
static bool has_tap(struct nl_cache *links, int ifindex, const char *owner)
{
	auto_link tap = NULL;
	char name[IFNAMSIZ];

	nettap_name(name, "tap", ifindex);
	tap = rtnl_link_get_by_name(links, name);
	return tap && !is_owners(tap, owner);
}

/* The number in the name of one of our own: "husk-br1f" is 31. 0 = another kind. */
static int belongs_to(const char *name, const char *kind)
{
	size_t len = strlen(NETSCAN_OURS), klen = strlen(kind);

	if (strncmp(name + len, kind, klen) != 0)
		return 0;
	return (int)strtol(name + len + klen, NULL, 16);
}

static void sweep_link(struct nl_sock *sk, struct nl_cache *links, struct rtnl_link *l,
		       const char *owner)
{
	const char *name = rtnl_link_get_name(l);
	int ifindex = rtnl_link_get_ifindex(l), of;

	if (strncmp(name, NETSCAN_OURS, strlen(NETSCAN_OURS)) != 0) {
		if (!has_tap(links, ifindex, owner) && is_ours(sk, ifindex))
			(void)!del_ingress(sk, ifindex);
		return;
	}
	of = belongs_to(name, "br");
	if ((of > 0 && !has_tap(links, of, owner)) ||
	    (belongs_to(name, "mvt") > 0 && is_owners(l, owner)))
		(void)!nettap_del_link(sk, ifindex);
}

int nettap_sweep(struct nl_sock *sk, const char *owner)
{
	struct nl_cache *links = NULL;
	int rc = rtnl_link_alloc_cache(sk, AF_UNSPEC, &links);

	if (rc < 0)
		return netscan_errno(rc);
	for (struct nl_object *p = nl_cache_get_first(links); p; p = nl_cache_get_next(p)) {
		struct rtnl_link *l = (struct rtnl_link *)p;

		if (rtnl_link_get_name(l))
			sweep_link(sk, links, l, owner);
	}
	nl_cache_free(links);
	return 0;
}

void nettap_sweep_path(const char *path, const char *owner)
{
	auto_fd ours = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	auto_fd netns = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct err e = {0};
	struct nl_sock *sk;
	int rc;

	if (ours < 0 || netns < 0 || setns(netns, CLONE_NEWNET) < 0)
		return;
	sk = nettap_socket(&e);
	rc = sk ? nettap_sweep(sk, owner) : e.code;
	nl_socket_free(sk);
	if (rc < 0)
		log_warn("network namespace '%s': %s", path, strerror(-rc));
	/* A delete that cannot come back has nothing to do here any more but end. */
	BUG_ON(setns(ours, CLONE_NEWNET) < 0);
}
