/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's rtnetlink: messages from JSON, and what the kernel's answers may not make it do. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "agent/net.h"

static struct err e;

static struct json_object *parse(const char *s)
{
	struct json_object *o = NULL;

	e = (struct err){0};
	cr_assert_eq(js_parse(s, strlen(s), &o, &e), 0, "%s: %s", s, e.msg);
	return o;
}

static unsigned index_of(const char *name)
{
	return strcmp(name, "eth0") == 0 ? 2 : strcmp(name, "eth1") == 0 ? 3 : 0;
}

/* The attribute @type within @len bytes at @p: its payload, with the length in *ret. */
static const uint8_t *find(const uint8_t *p, size_t len, uint16_t type, size_t *ret)
{
	while (len >= NLA_HDRLEN) {
		struct nlattr a;

		memcpy(&a, p, sizeof(a));
		cr_assert(a.nla_len >= NLA_HDRLEN && a.nla_len <= len, "a broken attribute");
		if (a.nla_type == type) {
			*ret = a.nla_len - NLA_HDRLEN;
			return p + NLA_HDRLEN;
		}
		if ((size_t)NLA_ALIGN(a.nla_len) >= len)
			break;
		p += (size_t)NLA_ALIGN(a.nla_len);
		len -= (size_t)NLA_ALIGN(a.nla_len);
	}
	return NULL;
}

static const uint8_t *attr(const struct nlm *m, size_t body, uint16_t type, size_t *ret)
{
	size_t head = NLMSG_HDRLEN + NLMSG_ALIGN(body);

	cr_assert_not(m->full);
	return find(m->raw + head, m->len - head, type, ret);
}

static void has_ip(const struct nlm *m, size_t body, uint16_t type, const char *text)
{
	char got[64] = "none";
	size_t len = 0;
	const uint8_t *p = attr(m, body, type, &len);

	if (p)
		(void)inet_ntop(len == 4 ? AF_INET : AF_INET6, p, got, sizeof(got));
	cr_expect_str_eq(got, text, "attribute %u: %s", type, got);
}

static void has_u32(const struct nlm *m, size_t body, uint16_t type, uint32_t want)
{
	size_t len = 0;
	uint32_t v = 0;
	const uint8_t *p = attr(m, body, type, &len);

	cr_assert(p && len == 4, "attribute %u: not there", type);
	memcpy(&v, p, 4);
	cr_expect_eq(v, want, "attribute %u: %u", type, v);
}

Test(netmsg, a_link_with_all_of_its_settings)
{
	struct json_object *o = parse("{\"mac\":\"02:42:AC:11:00:0f\",\"mtu\":1450,\"arp\":false}");
	struct ifinfomsg ifi;
	struct nlm m;
	size_t len = 0;
	const uint8_t *p;

	cr_assert_eq(netmsg_link(&m, o, 7, &e), 0, "%s", e.msg);
	memcpy(&ifi, m.raw + NLMSG_HDRLEN, sizeof(ifi));
	cr_expect_eq(m.head.nlmsg_type, RTM_SETLINK);
	cr_expect_eq(ifi.ifi_index, 7);
	cr_expect_eq(ifi.ifi_flags, IFF_NOARP);
	cr_expect_eq(ifi.ifi_change, IFF_NOARP);
	has_u32(&m, sizeof(ifi), IFLA_MTU, 1450);
	p = attr(&m, sizeof(ifi), IFLA_ADDRESS, &len);
	cr_assert(p && len == 6 && memcmp(p, "\x02\x42\xac\x11\x00\x0f", 6) == 0);
	p = attr(&m, sizeof(ifi), IFLA_AF_SPEC, &len);
	cr_assert(p);
	p = find(p, len, AF_INET6, &len);
	cr_assert(p);
	p = find(p, len, IFLA_INET6_ADDR_GEN_MODE, &len);
	cr_expect(p && len == 1 && *p == 1);
	json_object_put(o);
	netmsg_up(&m, 7, true);
	memcpy(&ifi, m.raw + NLMSG_HDRLEN, sizeof(ifi));
	cr_expect(ifi.ifi_index == 7 && ifi.ifi_flags == IFF_UP && ifi.ifi_change == IFF_UP);
	netmsg_rename(&m, 7, "eth1");
	memcpy(&ifi, m.raw + NLMSG_HDRLEN, sizeof(ifi));
	p = attr(&m, sizeof(ifi), IFLA_IFNAME, &len);
	cr_expect(p && len == 5 && strcmp((const char *)p, "eth1") == 0 && ifi.ifi_flags == 0);
}

Test(netmsg, addresses)
{
	struct json_object *o = parse("{\"address\":\"172.17.0.2\",\"prefix\":16,"
				      "\"broadcast\":\"172.17.255.255\",\"label\":\"eth0:1\"}");
	struct ifaddrmsg ifa;
	struct nlm m;

	cr_assert_eq(netmsg_addr(&m, o, 2, false, &e), 0, "%s", e.msg);
	memcpy(&ifa, m.raw + NLMSG_HDRLEN, sizeof(ifa));
	cr_expect_eq(m.head.nlmsg_type, RTM_NEWADDR);
	cr_expect_eq(m.head.nlmsg_flags, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE);
	cr_expect(ifa.ifa_family == AF_INET && ifa.ifa_prefixlen == 16 && ifa.ifa_index == 2);
	has_ip(&m, sizeof(ifa), IFA_LOCAL, "172.17.0.2");
	has_ip(&m, sizeof(ifa), IFA_BROADCAST, "172.17.255.255");
	has_u32(&m, sizeof(ifa), IFA_FLAGS, IFA_F_PERMANENT);
	json_object_put(o);

	o = parse("{\"address\":\"fd00::2\",\"prefix\":64,\"peer\":\"fd00::1\"}");
	cr_assert_eq(netmsg_addr(&m, o, 2, true, &e), 0, "%s", e.msg);
	memcpy(&ifa, m.raw + NLMSG_HDRLEN, sizeof(ifa));
	cr_expect_eq(m.head.nlmsg_type, RTM_DELADDR);
	cr_expect(ifa.ifa_family == AF_INET6 && ifa.ifa_prefixlen == 64);
	has_ip(&m, sizeof(ifa), IFA_LOCAL, "fd00::2");
	has_ip(&m, sizeof(ifa), IFA_ADDRESS, "fd00::1");
	has_u32(&m, sizeof(ifa), IFA_FLAGS, IFA_F_PERMANENT | IFA_F_NODAD);
	json_object_put(o);
}

Test(netmsg, a_route_with_everything)
{
	struct json_object *o =
	    parse("{\"destination\":\"10.0.0.0/8\",\"gateway\":\"172.17.0.1\",\"source\":"
		  "\"172.17.0.2\",\"device\":\"eth1\",\"metric\":100,\"scope\":0,\"table\":1000,"
		  "\"onlink\":true,\"type\":1,\"protocol\":4,\"metrics\":{\"2\":1400}}");
	struct rtmsg rt;
	struct nlm m;
	size_t len = 0;
	const uint8_t *p;
	uint32_t mtu = 0;

	cr_assert_eq(netmsg_route(&m, o, index_of, false, &e), 0, "%s", e.msg);
	memcpy(&rt, m.raw + NLMSG_HDRLEN, sizeof(rt));
	cr_expect(rt.rtm_family == AF_INET && rt.rtm_dst_len == 8 && rt.rtm_protocol == 4);
	cr_expect_eq(rt.rtm_table, RT_TABLE_COMPAT);
	cr_expect_eq(rt.rtm_flags, RTNH_F_ONLINK);
	has_ip(&m, sizeof(rt), RTA_DST, "10.0.0.0");
	has_ip(&m, sizeof(rt), RTA_GATEWAY, "172.17.0.1");
	has_ip(&m, sizeof(rt), RTA_PREFSRC, "172.17.0.2");
	has_u32(&m, sizeof(rt), RTA_OIF, 3);
	has_u32(&m, sizeof(rt), RTA_PRIORITY, 100);
	has_u32(&m, sizeof(rt), RTA_TABLE, 1000);
	p = attr(&m, sizeof(rt), RTA_METRICS, &len);
	cr_assert(p);
	p = find(p, len, RTAX_MTU, &len);
	cr_assert(p && len == 4);
	memcpy(&mtu, p, 4);
	cr_expect_eq(mtu, 1400);
	json_object_put(o);
}

Test(netmsg, default_routes_and_gateways_of_another_family)
{
	struct json_object *o = parse("{\"family\":6,\"gateway\":\"fe80::1\",\"device\":\"eth0\"}");
	struct rtmsg rt;
	struct nlm m;
	size_t len = 0;
	const uint8_t *p;

	cr_assert_eq(netmsg_route(&m, o, index_of, true, &e), 0, "%s", e.msg);
	memcpy(&rt, m.raw + NLMSG_HDRLEN, sizeof(rt));
	cr_expect_eq(m.head.nlmsg_type, RTM_DELROUTE);
	cr_expect(rt.rtm_family == AF_INET6 && rt.rtm_dst_len == 0);
	cr_expect_null(attr(&m, sizeof(rt), RTA_DST, &len));
	json_object_put(o);

	o = parse("{\"destination\":\"10.1.0.0/16\",\"gateway\":\"fe80::1\",\"device\":\"eth0\"}");
	cr_assert_eq(netmsg_route(&m, o, index_of, false, &e), 0, "%s", e.msg);
	cr_expect_null(attr(&m, sizeof(rt), RTA_GATEWAY, &len));
	p = attr(&m, sizeof(rt), RTA_VIA, &len);
	cr_expect(p && len == 18 && p[0] == AF_INET6 && p[2] == 0xfe);
	json_object_put(o);
}

Test(netmsg, several_next_hops)
{
	struct json_object *o =
	    parse("{\"nexthops\":[{\"gateway\":\"10.0.0.1\",\"device\":\"eth0\",\"weight\":1},"
		  "{\"gateway\":\"10.1.0.1\",\"device\":\"eth1\",\"weight\":3,\"flags\":4}]}");
	struct rtnexthop hop;
	struct nlm m;
	size_t len = 0;
	const uint8_t *p;

	cr_assert_eq(netmsg_route(&m, o, index_of, false, &e), 0, "%s", e.msg);
	p = attr(&m, sizeof(struct rtmsg), RTA_MULTIPATH, &len);
	cr_assert(p && len == 2 * (sizeof(hop) + 8), "%zu bytes", len);
	memcpy(&hop, p, sizeof(hop));
	cr_expect(hop.rtnh_len == 16 && hop.rtnh_ifindex == 2 && hop.rtnh_hops == 0);
	memcpy(&hop, p + 16, sizeof(hop));
	cr_expect(hop.rtnh_ifindex == 3 && hop.rtnh_hops == 2 && hop.rtnh_flags == RTNH_F_ONLINK);
	json_object_put(o);
}

Test(netmsg, neighbours)
{
	struct json_object *o = parse(
	    "{\"address\":\"169.254.1.1\",\"mac\":\"ee:ee:ee:ee:ee:ee\",\"device\":\"eth0\"}");
	struct ndmsg nd;
	struct nlm m;

	cr_assert_eq(netmsg_neigh(&m, o, index_of, false, &e), 0, "%s", e.msg);
	memcpy(&nd, m.raw + NLMSG_HDRLEN, sizeof(nd));
	cr_expect(nd.ndm_family == AF_INET && nd.ndm_ifindex == 2 && nd.ndm_state == NUD_PERMANENT);
	has_ip(&m, sizeof(nd), NDA_DST, "169.254.1.1");
	json_object_put(o);
}

static void refused(int (*fn)(struct nlm *, struct json_object *, net_index_fn, bool, struct err *),
		    const char *json, const char *why)
{
	struct json_object *o = parse(json);
	struct nlm m;

	cr_assert_lt(fn(&m, o, index_of, false, &e), 0, "accepted: %s", json);
	cr_expect(strstr(e.msg, why), "%s: '%s' says nothing about '%s'", json, e.msg, why);
	json_object_put(o);
}

static int link_of(struct nlm *m, struct json_object *o, net_index_fn fn, bool del, struct err *err)
{
	(void)fn;
	(void)del;
	return netmsg_link(m, o, 2, err);
}

static int addr_of(struct nlm *m, struct json_object *o, net_index_fn fn, bool del, struct err *err)
{
	(void)fn;
	return netmsg_addr(m, o, 2, del, err);
}

Test(netmsg, refuses_by_name)
{
	refused(link_of, "{\"mtu\":67}", "mtu");
	refused(link_of, "{\"mtu\":65536}", "mtu");
	refused(link_of, "{\"mac\":\"02:42:ac:11:00\"}", "mac");
	refused(link_of, "{\"mac\":\"02:42:ac:11:00:0g\"}", "mac");
	refused(link_of, "{\"mac\":\"02:42:ac:11:00:022\"}", "mac");
	refused(addr_of, "{}", "address");
	refused(addr_of, "{\"address\":\"1.2.3\"}", "address");
	refused(addr_of, "{\"address\":\"1.2.3.4\",\"prefix\":33}", "prefix");
	refused(addr_of, "{\"address\":\"1.2.3.4\",\"peer\":\"fd00::1\"}", "peer");
	refused(netmsg_route, "{\"destination\":\"1.2.3.4/33\"}", "destination");
	refused(netmsg_route, "{\"destination\":\"1.2.3.4/\"}", "destination");
	refused(netmsg_route, "{\"destination\":\"1.2.3.4/1x\"}", "destination");
	refused(netmsg_route, "{\"device\":\"eth9\"}", "eth9");
	refused(netmsg_route, "{\"gateway\":\"x\"}", "gateway");
	refused(netmsg_route, "{\"source\":\"fd00::1\"}", "source");
	refused(netmsg_route, "{\"metrics\":{\"99\":1}}", "99");
	refused(netmsg_route, "{\"nexthops\":[{\"device\":\"eth0\",\"weight\":0}]}", "weight");
	refused(netmsg_neigh, "{\"device\":\"eth0\"}", "address");
	refused(netmsg_neigh, "{\"address\":\"1.2.3.4\",\"mac\":\"x\"}", "mac");
}

/* 64 next hops fit, whatever they are; what does not fit is no message. */
Test(netmsg, never_longer_than_its_buffer)
{
	struct json_object *o = json_object_new_object(), *arr = json_object_new_array();
	struct nlm m;

	for (unsigned i = 0; i < 65; i++)
		(void)json_object_array_add(arr,
					    parse("{\"gateway\":\"fd00::1\",\"device\":\"eth0\"}"));
	(void)json_object_object_add(o, "nexthops", arr);
	(void)json_object_object_add(o, "family", json_object_new_int(6));
	cr_assert_lt(netmsg_route(&m, o, index_of, false, &e), 0);
	cr_expect(strstr(e.msg, "nexthops"), "%s", e.msg);
	nlm_begin(&m, RTM_NEWROUTE, 0, NULL, 0);
	for (unsigned i = 0; i < NLM_MAX / 8; i++)
		nlm_put_u32(&m, 1, i);
	cr_expect(m.full && m.len <= NLM_MAX);
	cr_expect_eq(nl_talk(-1, &m), -EMSGSIZE);
	json_object_put(o);
}

static size_t ack(uint8_t *buf, uint32_t seq, int code)
{
	struct nlmsghdr h = {.nlmsg_len = NLMSG_HDRLEN + sizeof(struct nlmsgerr),
			     .nlmsg_type = NLMSG_ERROR,
			     .nlmsg_seq = seq};
	struct nlmsgerr err = {.error = code};

	memcpy(buf, &h, sizeof(h));
	memcpy(buf + NLMSG_HDRLEN, &err, sizeof(err));
	return h.nlmsg_len;
}

/* Each answer in memory of exactly its length: the sanitizer sees what goes beyond. */
static int looked_at(const uint8_t *src, size_t len, int *code)
{
	uint8_t *copy = malloc(len ? len : 1);
	int rc;

	memcpy(copy, src, len);
	rc = nl_find_ack(copy, len, 5, code);
	free(copy);
	return rc;
}

Test(nl, finds_its_answer)
{
	uint8_t buf[128];
	size_t len = ack(buf, 4, -EPERM);
	int code = 1;

	len += ack(buf + NLMSG_ALIGN(len), 5, -EEXIST);
	cr_assert_eq(looked_at(buf, len, &code), 1);
	cr_expect_eq(code, -EEXIST);
	len = ack(buf, 4, 0);
	cr_expect_eq(looked_at(buf, len, &code), 0);
	cr_expect_eq(looked_at(buf, 0, &code), 0);
}

Test(nl, an_answer_of_a_wrong_length_is_none)
{
	uint8_t buf[128];
	uint32_t wrong[] = {0, 15, 1000, 0xffffffff, NLMSG_HDRLEN};
	int code;

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		size_t len = ack(buf, 5, 0);

		memcpy(buf, &wrong[i], 4);
		cr_expect_eq(looked_at(buf, len, &code), -EBADMSG, "length %u", wrong[i]);
	}
	for (size_t len = 1; len < NLMSG_HDRLEN + sizeof(struct nlmsgerr); len++) {
		(void)ack(buf, 5, 0);
		cr_expect_neq(looked_at(buf, len, &code), 1, "%zu bytes", len);
	}
}
