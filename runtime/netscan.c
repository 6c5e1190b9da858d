/* SPDX-License-Identifier: Apache-2.0 */
/* See netscan.h. */
#include "runtime/netscan.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_arp.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netlink/cache.h>
#include <netlink/errno.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/neighbour.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Flags of an address that say what it is for; the others say how it is just now. */
#define ADDR_FLAGS                                                                                 \
	(IFA_F_NODAD | IFA_F_HOMEADDRESS | IFA_F_MANAGETEMPADDR | IFA_F_NOPREFIXROUTE |            \
	 IFA_F_MCAUTOJOIN)

static void cache_put(struct nl_cache **c)
{
	if (*c)
		nl_cache_free(*c);
}
#define auto_cache CLEANUP(cache_put) struct nl_cache *

int netscan_errno(int nlerr)
{
	static const struct {
		int nle, err;
	} map[] = {
	    {NLE_NODEV, ENODEV},      {NLE_OBJ_NOTFOUND, ENOENT}, {NLE_EXIST, EEXIST},
	    {NLE_PERM, EPERM},	      {NLE_NOACCESS, EACCES},	  {NLE_BUSY, EBUSY},
	    {NLE_NOMEM, ENOMEM},      {NLE_INVAL, EINVAL},	  {NLE_RANGE, ERANGE},
	    {NLE_OPNOTSUPP, ENOTSUP}, {NLE_DUMP_INTR, EINTR},	  {NLE_NOADDR, EADDRNOTAVAIL},
	    {NLE_AGAIN, EAGAIN},      {NLE_INTR, EINTR}};

	for (size_t i = 0; i < ARRAY_LEN(map); i++)
		if (abs(nlerr) == map[i].nle)
			return -map[i].err;
	return nlerr ? -EIO : 0;
}

/* An address without its prefix: "10.0.0.1". */
static const char *text_of(struct nl_addr *a, char *buf, size_t len)
{
	char *slash;

	nl_addr2str(a, buf, len);
	slash = strchr(buf, '/');
	if (slash)
		*slash = '\0';
	return buf;
}

static void add_addr(struct json_object *o, const char *key, struct nl_addr *a)
{
	char buf[64];

	if (a && nl_addr_get_len(a))
		json_add_str(o, key, text_of(a, buf, sizeof(buf)));
}

static void add_nonzero(struct json_object *o, const char *key, int64_t v)
{
	if (v)
		json_add_i64(o, key, v);
}

/* ---- interfaces ---------------------------------------------------------------------------------- */

static struct json_object *addr_doc(struct rtnl_addr *a)
{
	struct json_object *o = json_object_new_object();
	const char *label = rtnl_addr_get_label(a);

	add_addr(o, "address", rtnl_addr_get_local(a));
	json_add_i64(o, "prefix", rtnl_addr_get_prefixlen(a));
	add_addr(o, "peer", rtnl_addr_get_peer(a));
	add_addr(o, "broadcast", rtnl_addr_get_broadcast(a));
	add_nonzero(o, "scope", rtnl_addr_get_scope(a));
	add_nonzero(o, "flags", rtnl_addr_get_flags(a) & ADDR_FLAGS);
	if (label && strchr(label, ':')) /* without one it is the interface's name */
		json_add_str(o, "label", label);
	return o;
}

static bool is_kept(struct rtnl_addr *a)
{
	int family = rtnl_addr_get_family(a);

	if (family != AF_INET && family != AF_INET6)
		return false;
	/* A privacy address of the host's: the guest makes its own. */
	return !(family == AF_INET6 && rtnl_addr_get_flags(a) & IFA_F_TEMPORARY);
}

static struct json_object *addrs_of(struct nl_cache *addrs, int ifindex, bool *ret_v6)
{
	struct json_object *arr = json_object_new_array();

	*ret_v6 = false;
	for (struct nl_object *p = nl_cache_get_first(addrs); p; p = nl_cache_get_next(p)) {
		struct rtnl_addr *a = (struct rtnl_addr *)p;

		if (rtnl_addr_get_ifindex(a) != ifindex || !is_kept(a))
			continue;
		(void)json_object_array_add(arr, addr_doc(a));
		*ret_v6 |= rtnl_addr_get_family(a) == AF_INET6;
	}
	return arr;
}

static int keep_link(struct netscan *s, struct rtnl_link *l, struct json_object *addrs, bool v6)
{
	unsigned flags = rtnl_link_get_flags(l);
	struct nl_addr *mac = rtnl_link_get_addr(l);
	struct json_object *o = json_object_new_object();
	struct netscan_link *n = realloc(s->link, (s->cnt + 1) * sizeof(*s->link));
	char text[24];

	if (!n || !o) {
		s->link = n ? n : s->link;
		json_object_put(o);
		return -ENOMEM;
	}
	s->link = n;
	n = &s->link[s->cnt++];
	*n = (struct netscan_link){
	    .ifindex = rtnl_link_get_ifindex(l), .mtu = rtnl_link_get_mtu(l), .doc = o};
	(void)snprintf(n->name, sizeof(n->name), "%s", rtnl_link_get_name(l));
	if (mac && nl_addr_get_len(mac) == sizeof(n->mac))
		memcpy(n->mac, nl_addr_get_binary_addr(mac), sizeof(n->mac));
	(void)snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", n->mac[0], n->mac[1],
		       n->mac[2], n->mac[3], n->mac[4], n->mac[5]);
	json_add_str(o, "name", n->name);
	json_add_str(o, "mac", text);
	json_add_i64(o, "mtu", n->mtu);
	json_add_bool(o, "up", flags & IFF_UP);
	json_add_bool(o, "arp", !(flags & IFF_NOARP));
	/* An interface that is up has an address of IPv6, unless that is switched off. */
	json_add_bool(o, "ipv6", v6 || !(flags & IFF_UP));
	(void)json_object_object_add(o, "addresses", json_object_get(addrs));
	return 0;
}

static bool is_our_name(const char *name)
{
	return strncmp(name, NETSCAN_OURS, strlen(NETSCAN_OURS)) == 0;
}

/* Does it belong to a bridge or bond of somebody else's? One of ours stands between it and the guest. */
static bool is_taken(struct nl_cache *links, struct rtnl_link *l)
{
	int master = rtnl_link_get_master(l);
	struct rtnl_link *m = master ? rtnl_link_get(links, master) : NULL;
	const char *name = m ? rtnl_link_get_name(m) : NULL;
	bool ours = name && is_our_name(name);

	rtnl_link_put(m);
	return master && !ours;
}

static int read_links(struct netscan *s, struct nl_cache *links, struct nl_cache *addrs)
{
	int rc = 0;

	for (struct nl_object *p = nl_cache_get_first(links); p && rc == 0;
	     p = nl_cache_get_next(p)) {
		struct rtnl_link *l = (struct rtnl_link *)p;
		unsigned flags = rtnl_link_get_flags(l);
		const char *name = rtnl_link_get_name(l);
		auto_json arr = NULL;
		bool v6;

		if (!name || flags & IFF_LOOPBACK || is_our_name(name) || is_taken(links, l))
			continue;
		arr = addrs_of(addrs, rtnl_link_get_ifindex(l), &v6);
		if (!(flags & IFF_UP) && json_object_array_length(arr) == 0)
			continue;
		if (rtnl_link_get_arptype(l) == ARPHRD_ETHER)
			rc = keep_link(s, l, arr, v6);
		else
			(void)snprintf(s->alien, sizeof(s->alien), "%s", name);
	}
	return rc;
}

static const char *name_of(const struct netscan *s, int ifindex)
{
	for (size_t i = 0; i < s->cnt; i++)
		if (s->link[i].ifindex == ifindex)
			return s->link[i].name;
	return NULL;
}

/* ---- routes -------------------------------------------------------------------------------------- */

static void add_gateway(struct json_object *o, struct rtnl_nexthop *nh)
{
	struct nl_addr *gw = rtnl_route_nh_get_gateway(nh);

	add_addr(o, "gateway", gw ? gw : rtnl_route_nh_get_via(nh));
}

/* False when it leads to an interface that the guest does not get. */
static bool add_nexthops(const struct netscan *s, struct json_object *o, struct rtnl_route *r)
{
	int cnt = rtnl_route_get_nnexthops(r);
	struct json_object *arr;

	if (cnt == 0)
		return true;
	if (cnt == 1) {
		struct rtnl_nexthop *nh = rtnl_route_nexthop_n(r, 0);
		int ifindex = rtnl_route_nh_get_ifindex(nh);
		const char *name = name_of(s, ifindex);
		uint8_t type = rtnl_route_get_type(r);

		/* "blackhole" and its like need none; IPv6 says lo. */
		if (!name && (type == RTN_UNICAST || type == RTN_LOCAL || type == RTN_MULTICAST ||
			      type == RTN_ANYCAST || type == RTN_BROADCAST))
			return false;
		if (name)
			json_add_str(o, "device", name);
		add_gateway(o, nh);
		if (rtnl_route_nh_get_flags(nh) & RTNH_F_ONLINK)
			json_add_bool(o, "onlink", true);
		return true;
	}
	arr = json_object_new_array();
	(void)json_object_object_add(o, "nexthops", arr);
	for (int i = 0; i < cnt; i++) {
		struct rtnl_nexthop *nh = rtnl_route_nexthop_n(r, i);
		const char *name = name_of(s, rtnl_route_nh_get_ifindex(nh));
		struct json_object *hop = json_object_new_object();

		(void)json_object_array_add(arr, hop);
		if (!name)
			return false;
		json_add_str(hop, "device", name);
		add_gateway(hop, nh);
		json_add_i64(hop, "weight", (int64_t)rtnl_route_nh_get_weight(nh) + 1);
		add_nonzero(hop, "flags", rtnl_route_nh_get_flags(nh) & RTNH_F_ONLINK);
	}
	return true;
}

static void add_metrics(struct json_object *o, struct rtnl_route *r)
{
	struct json_object *m = NULL;

	for (int i = 1; i <= RTAX_MAX; i++) {
		uint32_t v;
		char key[12];

		/* RTAX_CC_ALGO is a name. */
		if (i == RTAX_CC_ALGO || rtnl_route_get_metric(r, i, &v) < 0)
			continue;
		if (!m)
			m = json_object_new_object();
		(void)snprintf(key, sizeof(key), "%d", i);
		json_add_i64(m, key, v);
	}
	if (m)
		(void)json_object_object_add(o, "metrics", m);
}

/* What the kernel makes by itself for an address, the guest's kernel makes, too. */
static bool is_routes_own(struct rtnl_route *r)
{
	return rtnl_route_get_protocol(r) == RTPROT_KERNEL ||
	       rtnl_route_get_table(r) == RT_TABLE_LOCAL ||
	       (rtnl_route_get_flags(r) & RTM_F_CLONED);
}

static struct json_object *route_doc(const struct netscan *s, struct rtnl_route *r)
{
	struct json_object *o = json_object_new_object();
	struct nl_addr *dst = rtnl_route_get_dst(r);
	char text[72];

	json_add_i64(o, "family", rtnl_route_get_family(r) == AF_INET6 ? 6 : 4);
	if (dst && nl_addr_get_len(dst) && nl_addr_get_prefixlen(dst)) {
		char addr[64];

		(void)snprintf(text, sizeof(text), "%s/%u", text_of(dst, addr, sizeof(addr)),
			       nl_addr_get_prefixlen(dst));
		json_add_str(o, "destination", text);
	}
	if (!add_nexthops(s, o, r)) {
		json_object_put(o);
		return NULL;
	}
	add_addr(o, "source", rtnl_route_get_pref_src(r));
	add_nonzero(o, "metric", rtnl_route_get_priority(r));
	add_nonzero(o, "scope", rtnl_route_get_scope(r));
	add_nonzero(o, "tos", rtnl_route_get_tos(r));
	json_add_i64(o, "table", rtnl_route_get_table(r));
	json_add_i64(o, "type", rtnl_route_get_type(r));
	json_add_i64(o, "protocol", rtnl_route_get_protocol(r));
	add_metrics(o, r);
	return o;
}

static void read_routes(struct netscan *s, struct nl_cache *routes)
{
	for (struct nl_object *p = nl_cache_get_first(routes); p; p = nl_cache_get_next(p)) {
		struct rtnl_route *r = (struct rtnl_route *)p;
		int family = rtnl_route_get_family(r);
		struct json_object *o;

		if ((family != AF_INET && family != AF_INET6) || is_routes_own(r))
			continue;
		o = route_doc(s, r);
		if (o)
			(void)json_object_array_add(s->routes, o);
	}
}

/* ---- neighbours ---------------------------------------------------------------------------------- */

static void read_neighbours(struct netscan *s, struct nl_cache *neighs)
{
	for (struct nl_object *p = nl_cache_get_first(neighs); p; p = nl_cache_get_next(p)) {
		struct rtnl_neigh *n = (struct rtnl_neigh *)p;
		const char *name = name_of(s, rtnl_neigh_get_ifindex(n));
		int family = rtnl_neigh_get_family(n);
		struct json_object *o;
		char text[64];

		if (!name || (family != AF_INET && family != AF_INET6) ||
		    !(rtnl_neigh_get_state(n) & NUD_PERMANENT) || !rtnl_neigh_get_lladdr(n))
			continue;
		o = json_object_new_object();
		json_add_str(o, "device", name);
		add_addr(o, "address", rtnl_neigh_get_dst(n));
		json_add_str(o, "mac", nl_addr2str(rtnl_neigh_get_lladdr(n), text, sizeof(text)));
		add_nonzero(o, "flags", rtnl_neigh_get_flags(n) & NTF_ROUTER);
		(void)json_object_array_add(s->neighbours, o);
	}
}

/* ---- all of it ----------------------------------------------------------------------------------- */

static int refill(struct nl_sock *sk, struct netscan *s)
{
	auto_cache links = NULL;
	auto_cache addrs = NULL;
	auto_cache routes = NULL;
	auto_cache neighs = NULL;
	int rc = rtnl_link_alloc_cache(sk, AF_UNSPEC, &links);

	if (rc == 0)
		rc = rtnl_addr_alloc_cache(sk, &addrs);
	if (rc == 0)
		rc = rtnl_route_alloc_cache(sk, AF_UNSPEC, 0, &routes);
	if (rc == 0)
		rc = rtnl_neigh_alloc_cache(sk, &neighs);
	if (rc < 0)
		return netscan_errno(rc);
	s->routes = json_object_new_array();
	s->neighbours = json_object_new_array();
	if (!s->routes || !s->neighbours)
		return -ENOMEM;
	rc = read_links(s, links, addrs);
	if (rc < 0)
		return rc;
	read_routes(s, routes);
	read_neighbours(s, neighs);
	return 0;
}

int netscan_read(struct nl_sock *sk, struct netscan *ret, struct err *e)
{
	int rc = -EINTR;

	*ret = (struct netscan){0};
	/* Somebody changed something while it was read: again, but not for ever. */
	for (unsigned i = 0; i < 8 && rc == -EINTR; i++) {
		netscan_free(ret);
		rc = refill(sk, ret);
	}
	return rc < 0 ? err_sys(e, rc, "reading the network name space") : 0;
}

void netscan_free(struct netscan *s)
{
	for (size_t i = 0; i < s->cnt; i++)
		json_object_put(s->link[i].doc);
	free(s->link);
	json_object_put(s->routes);
	json_object_put(s->neighbours);
	*s = (struct netscan){0};
}
