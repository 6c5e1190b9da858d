/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the JSON of SETUPINTERFACE to rtnetlink messages. Pure: no socket, and the number of an
 * interface comes from a function. Constants of the kernel (scopes, tables, types, states) travel
 * as the numbers that the host's kernel gave.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/net.h"

#define MTU_MIN	     68	   /* RFC 791 */
#define MTU_MAX	     65535 /* the most that virtio-net carries */
#define NO_ADDR_MODE 1	   /* IN6_ADDR_GEN_MODE_NONE: no link-local address of the kernel's own */
#define NEXTHOPS_MAX 64

struct ip {
	int family;
	unsigned len; /* bytes */
	uint8_t raw[16];
};

static int ip_parse(const char *s, struct ip *ret)
{
	*ret = (struct ip){.family = AF_INET, .len = 4};
	if (inet_pton(AF_INET, s, ret->raw) == 1)
		return 0;
	*ret = (struct ip){.family = AF_INET6, .len = 16};
	return inet_pton(AF_INET6, s, ret->raw) == 1 ? 0 : -EINVAL;
}

/* The member @key as an address: 1, 0 when there is none, or an error. */
static int get_ip(struct json_object *o, const char *key, struct ip *ret, struct err *e)
{
	const char *s = NULL;
	int rc = js_str(o, key, &s, e);

	if (rc < 0 || !s)
		return rc;
	if (ip_parse(s, ret) < 0)
		return err_set(e, -EINVAL, "%s '%s': not an IP address", key, s);
	return 1;
}

static int get_num(struct json_object *o, const char *key, int64_t max, int64_t *ret, struct err *e)
{
	return js_int(o, key, 0, max, ret, e);
}

int netmsg_mac(const char *s, uint8_t out[6])
{
	for (unsigned i = 0; i < 6; i++) {
		unsigned v = 0;

		for (unsigned k = 0; k < 2; k++, s++) {
			const char *hex = "0123456789abcdef";
			const char *at = *s ? strchr(hex, *s | 0x20) : NULL;

			if (!at || (*s < '0') || (*s > '9' && *s < 'A'))
				return -EINVAL;
			v = v << 4 | (unsigned)(at - hex);
		}
		out[i] = (uint8_t)v;
		if (*s != (i < 5 ? ':' : '\0'))
			return -EINVAL;
		s++;
	}
	return 0;
}

/* ---- links --------------------------------------------------------------------------------------- */

int netmsg_link(struct nlm *m, struct json_object *o, unsigned ifindex, struct err *e)
{
	struct ifinfomsg ifi = {.ifi_family = AF_UNSPEC, .ifi_index = (int)ifindex};
	bool arp = true;
	const char *mac = NULL;
	uint8_t raw[6], mode = NO_ADDR_MODE;
	int64_t mtu = 0;
	size_t spec, v6;
	int rc = js_bool(o, "arp", &arp, e);

	rc = rc ? rc : js_str(o, "mac", &mac, e);
	rc = rc ? rc : js_int(o, "mtu", MTU_MIN, MTU_MAX, &mtu, e);
	if (rc == 0 && mac && netmsg_mac(mac, raw) < 0)
		rc = err_set(e, -EINVAL, "mac '%s': not a MAC address", mac);
	if (rc < 0)
		return rc;
	ifi.ifi_flags = arp ? 0 : IFF_NOARP;
	ifi.ifi_change = IFF_NOARP;
	nlm_begin(m, RTM_SETLINK, 0, &ifi, sizeof(ifi));
	if (mac)
		nlm_put(m, IFLA_ADDRESS, raw, sizeof(raw));
	if (mtu)
		nlm_put_u32(m, IFLA_MTU, (uint32_t)mtu);
	spec = nlm_nest(m, IFLA_AF_SPEC);
	v6 = nlm_nest(m, AF_INET6);
	nlm_put(m, IFLA_INET6_ADDR_GEN_MODE, &mode, sizeof(mode));
	nlm_end(m, v6);
	nlm_end(m, spec);
	return 0;
}

void netmsg_up(struct nlm *m, unsigned ifindex, bool up)
{
	struct ifinfomsg ifi = {
	    .ifi_index = (int)ifindex, .ifi_flags = up ? IFF_UP : 0, .ifi_change = IFF_UP};

	nlm_begin(m, RTM_SETLINK, 0, &ifi, sizeof(ifi));
}

void netmsg_rename(struct nlm *m, unsigned ifindex, const char *name)
{
	netmsg_up(m, ifindex, false);
	nlm_put_str(m, IFLA_IFNAME, name);
}

/* ---- addresses ----------------------------------------------------------------------------------- */

static int addr_head(struct json_object *o, const struct ip *ip, unsigned ifindex,
		     struct ifaddrmsg *ret, uint32_t *ret_flags, struct err *e)
{
	int64_t prefix = ip->len * 8, scope = 0, flags = 0;
	int rc = get_num(o, "prefix", ip->len * 8, &prefix, e);

	rc = rc ? rc : get_num(o, "scope", 255, &scope, e);
	rc = rc ? rc : get_num(o, "flags", UINT32_MAX, &flags, e);
	if (rc < 0)
		return rc;
	flags |= IFA_F_PERMANENT;
	/*
	 * The host's interface keeps the same address: asked whether it is free, somebody would
	 * say no. And a container that starts must find its addresses usable.
	 */
	if (ip->family == AF_INET6)
		flags |= IFA_F_NODAD;
	*ret = (struct ifaddrmsg){.ifa_family = (uint8_t)ip->family,
				  .ifa_prefixlen = (uint8_t)prefix,
				  .ifa_flags = (uint8_t)flags,
				  .ifa_scope = (uint8_t)scope,
				  .ifa_index = ifindex};
	*ret_flags = (uint32_t)flags;
	return 0;
}

int netmsg_addr(struct nlm *m, struct json_object *o, unsigned ifindex, bool del, struct err *e)
{
	struct ip ip, peer, bcast;
	const char *label = NULL;
	struct ifaddrmsg ifa;
	uint32_t flags = 0;
	int rc, has_peer = 0, has_bcast = 0;

	rc = get_ip(o, "address", &ip, e);
	if (rc == 0)
		rc = err_set(e, -EINVAL, "addresses: one without an address");
	if (rc > 0)
		rc = addr_head(o, &ip, ifindex, &ifa, &flags, e);
	if (rc == 0)
		rc = has_peer = get_ip(o, "peer", &peer, e);
	if (rc >= 0)
		rc = has_bcast = get_ip(o, "broadcast", &bcast, e);
	if (rc >= 0)
		rc = js_str(o, "label", &label, e);
	if (rc < 0)
		return rc;
	if ((has_peer && peer.family != ip.family) || (has_bcast && bcast.family != AF_INET))
		return err_set(e, -EINVAL, "peer or broadcast: not of the address's family");
	nlm_begin(m, del ? RTM_DELADDR : RTM_NEWADDR, del ? 0 : NLM_F_CREATE | NLM_F_REPLACE, &ifa,
		  sizeof(ifa));
	nlm_put(m, IFA_LOCAL, ip.raw, ip.len);
	nlm_put(m, IFA_ADDRESS, has_peer ? peer.raw : ip.raw, ip.len);
	if (has_bcast)
		nlm_put(m, IFA_BROADCAST, bcast.raw, bcast.len);
	if (label && ip.family == AF_INET)
		nlm_put_str(m, IFA_LABEL, label);
	nlm_put_u32(m, IFA_FLAGS, flags);
	return 0;
}

/* ---- routes -------------------------------------------------------------------------------------- */

static void put_gateway(struct nlm *m, int family, const struct ip *gw)
{
	struct {
		uint16_t family;
		uint8_t raw[16];
	} via = {.family = (uint16_t)gw->family};

	if (gw->family == family) {
		nlm_put(m, RTA_GATEWAY, gw->raw, gw->len);
		return;
	}
	memcpy(via.raw, gw->raw, gw->len);
	nlm_put(m, RTA_VIA, &via, sizeof(via.family) + gw->len);
}

static int get_index(struct json_object *o, net_index_fn index, unsigned *ret, struct err *e)
{
	const char *name = NULL;
	int rc = js_str(o, "device", &name, e);

	*ret = 0;
	if (rc < 0 || !name)
		return rc;
	*ret = index(name);
	return *ret ? 0 : err_set(e, -ENODEV, "interface '%s' is not there", name);
}

static int put_nexthop(struct nlm *m, int family, struct json_object *o, net_index_fn index,
		       struct err *e)
{
	struct rtnexthop hop = {0};
	int64_t weight = 1, flags = 0;
	size_t at = m->len;
	unsigned ifindex;
	struct ip gw;
	int rc, has_gw;

	rc = get_index(o, index, &ifindex, e);
	rc = rc ? rc : js_int(o, "weight", 1, 256, &weight, e);
	rc = rc ? rc : get_num(o, "flags", 255, &flags, e);
	if (rc < 0)
		return rc;
	has_gw = get_ip(o, "gateway", &gw, e);
	if (has_gw < 0)
		return has_gw;
	hop.rtnh_ifindex = (int)ifindex;
	hop.rtnh_hops = (uint8_t)(weight - 1);
	hop.rtnh_flags = (uint8_t)(flags & RTNH_F_ONLINK);
	nlm_raw(m, &hop, sizeof(hop));
	if (has_gw)
		put_gateway(m, family, &gw);
	if (!m->full) {
		uint16_t len = (uint16_t)(m->len - at);

		memcpy(m->raw + at, &len, sizeof(len)); /* rtnh_len */
	}
	return 0;
}

static int put_nexthops(struct nlm *m, int family, struct json_object *arr, net_index_fn index,
			struct err *e)
{
	size_t all = nlm_nest(m, RTA_MULTIPATH);

	if (js_len(arr) > NEXTHOPS_MAX)
		return err_set(e, -E2BIG, "nexthops: more than %d", NEXTHOPS_MAX);
	for (size_t i = 0; i < js_len(arr); i++) {
		struct json_object *o;
		int rc = js_at_obj(arr, i, "nexthops", &o, e);

		rc = rc ? rc : put_nexthop(m, family, o, index, e);
		if (rc < 0)
			return rc;
	}
	nlm_end(m, all);
	return 0;
}

static int put_metrics(struct nlm *m, struct json_object *o, struct err *e)
{
	size_t all = nlm_nest(m, RTA_METRICS);

	json_object_object_foreach(o, key, val)
	{
		unsigned long type = strtoul(key, NULL, 10);

		if (!type || type > RTAX_MAX || !json_object_is_type(val, json_type_int))
			return err_set(e, -EINVAL, "metrics: '%s' is none that is known", key);
		nlm_put_u32(m, (uint16_t)type, (uint32_t)json_object_get_int64(val));
	}
	nlm_end(m, all);
	return 0;
}

/* "10.0.0.0/8"; none is the default route of "family". */
static int route_dest(struct json_object *o, struct rtmsg *rt, struct ip *dst, struct err *e)
{
	const char *text = NULL;
	int64_t family = 4;
	char addr[64], *slash;
	int rc = js_str(o, "destination", &text, e);

	rc = rc ? rc : get_num(o, "family", 6, &family, e);
	if (rc < 0)
		return rc;
	rt->rtm_family = family == 6 ? AF_INET6 : AF_INET;
	if (!text)
		return 0;
	(void)snprintf(addr, sizeof(addr), "%s", text);
	slash = strchr(addr, '/');
	if (slash)
		*slash = '\0';
	if (ip_parse(addr, dst) < 0)
		return err_set(e, -EINVAL, "destination '%s': not an IP network", text);
	rt->rtm_family = (uint8_t)dst->family;
	rt->rtm_dst_len = (uint8_t)(dst->len * 8);
	if (slash) {
		char *end;
		unsigned long len = strtoul(slash + 1, &end, 10);

		if (*end || end == slash + 1 || len > dst->len * 8)
			return err_set(e, -EINVAL, "destination '%s': not an IP network", text);
		rt->rtm_dst_len = (uint8_t)len;
	}
	return 0;
}

struct route {
	struct rtmsg rt;
	struct ip dst, gw, src;
	int has_gw, has_src;
	int64_t metric, table;
	unsigned ifindex;
	struct json_object *hops, *metrics;
};

static int route_parse(struct json_object *o, net_index_fn index, struct route *r, struct err *e)
{
	int64_t scope = RT_SCOPE_UNIVERSE, type = RTN_UNICAST, proto = RTPROT_STATIC, tos = 0;
	bool onlink = false;
	int rc;

	*r = (struct route){.table = RT_TABLE_MAIN};
	rc = route_dest(o, &r->rt, &r->dst, e);
	rc = rc ? rc : get_num(o, "scope", 255, &scope, e);
	rc = rc ? rc : get_num(o, "type", 255, &type, e);
	rc = rc ? rc : get_num(o, "protocol", 255, &proto, e);
	rc = rc ? rc : get_num(o, "tos", 255, &tos, e);
	rc = rc ? rc : get_num(o, "metric", UINT32_MAX, &r->metric, e);
	rc = rc ? rc : get_num(o, "table", UINT32_MAX, &r->table, e);
	rc = rc ? rc : js_bool(o, "onlink", &onlink, e);
	rc = rc ? rc : js_arr(o, "nexthops", &r->hops, e);
	rc = rc ? rc : js_obj(o, "metrics", &r->metrics, e);
	rc = rc ? rc : get_index(o, index, &r->ifindex, e);
	if (rc < 0)
		return rc;
	r->has_gw = get_ip(o, "gateway", &r->gw, e);
	r->has_src = r->has_gw < 0 ? r->has_gw : get_ip(o, "source", &r->src, e);
	if (r->has_src < 0)
		return r->has_src;
	if (r->has_src && r->src.family != r->rt.rtm_family)
		return err_set(e, -EINVAL, "route: its source is of another family");
	r->rt.rtm_scope = (uint8_t)scope;
	r->rt.rtm_type = (uint8_t)type;
	r->rt.rtm_protocol = (uint8_t)proto;
	r->rt.rtm_tos = (uint8_t)tos;
	r->rt.rtm_table = (uint8_t)(r->table < 256 ? r->table : RT_TABLE_COMPAT);
	r->rt.rtm_flags = onlink ? RTNH_F_ONLINK : 0;
	return 0;
}

int netmsg_route(struct nlm *m, struct json_object *o, net_index_fn index, bool del, struct err *e)
{
	struct route r;
	int rc = route_parse(o, index, &r, e);

	if (rc < 0)
		return rc;
	nlm_begin(m, del ? RTM_DELROUTE : RTM_NEWROUTE, del ? 0 : NLM_F_CREATE | NLM_F_REPLACE,
		  &r.rt, sizeof(r.rt));
	if (r.rt.rtm_dst_len)
		nlm_put(m, RTA_DST, r.dst.raw, r.dst.len);
	if (r.has_gw)
		put_gateway(m, r.rt.rtm_family, &r.gw);
	if (r.has_src)
		nlm_put(m, RTA_PREFSRC, r.src.raw, r.src.len);
	if (r.ifindex)
		nlm_put_u32(m, RTA_OIF, r.ifindex);
	if (r.metric)
		nlm_put_u32(m, RTA_PRIORITY, (uint32_t)r.metric);
	nlm_put_u32(m, RTA_TABLE, (uint32_t)r.table);
	if (r.metrics)
		rc = put_metrics(m, r.metrics, e);
	if (rc == 0 && js_len(r.hops))
		rc = put_nexthops(m, r.rt.rtm_family, r.hops, index, e);
	return rc;
}

/* ---- neighbours ---------------------------------------------------------------------------------- */

int netmsg_neigh(struct nlm *m, struct json_object *o, net_index_fn index, bool del, struct err *e)
{
	struct ndmsg nd = {.ndm_state = NUD_PERMANENT};
	int64_t flags = 0, state = NUD_PERMANENT;
	const char *mac = NULL;
	uint8_t raw[6];
	unsigned ifindex;
	struct ip ip;
	int rc = get_ip(o, "address", &ip, e);

	if (rc == 0)
		rc = err_set(e, -EINVAL, "neighbours: one without an address");
	if (rc > 0)
		rc = get_index(o, index, &ifindex, e);
	rc = rc ? rc : get_num(o, "flags", 255, &flags, e);
	rc = rc ? rc : get_num(o, "state", UINT16_MAX, &state, e);
	rc = rc ? rc : js_str(o, "mac", &mac, e);
	if (rc == 0 && mac && netmsg_mac(mac, raw) < 0)
		rc = err_set(e, -EINVAL, "mac '%s': not a MAC address", mac);
	if (rc < 0)
		return rc;
	nd.ndm_family = (uint8_t)ip.family;
	nd.ndm_ifindex = (int)ifindex;
	nd.ndm_flags = (uint8_t)(flags & (NTF_PROXY | NTF_ROUTER));
	nd.ndm_state = (uint16_t)state;
	nlm_begin(m, del ? RTM_DELNEIGH : RTM_NEWNEIGH, del ? 0 : NLM_F_CREATE | NLM_F_REPLACE, &nd,
		  sizeof(nd));
	nlm_put(m, NDA_DST, ip.raw, ip.len);
	if (mac)
		nlm_put(m, NDA_LLADDR, raw, sizeof(raw));
	return 0;
}
