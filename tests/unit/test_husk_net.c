/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The runtime's side of the network in a network name space of the test's own: what is read of it, and what
 * is taken away again of sandboxes that were killed. Uses iproute2 to make what engines make.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/netdns.h"
#include "runtime/netown.h"
#include "runtime/netscan.h"
#include "runtime/nettap.h"
#include "tests/unit/netns.h"

static struct err e;

static struct json_object *only(struct json_object *arr, const char *key, const char *value)
{
	struct json_object *ret = NULL;

	for (size_t i = 0; i < json_object_array_length(arr); i++) {
		struct json_object *o = json_object_array_get_idx(arr, i);

		if (!strcmp(json_str(o, key, ""), value)) {
			cr_assert_null(ret, "%s %s: twice", key, value);
			ret = o;
		}
	}
	cr_assert(ret, "no %s %s in %s", key, value, json_object_to_json_string(arr));
	return ret;
}

static const struct netscan_link *link_of(const struct netscan *s, const char *name)
{
	for (size_t i = 0; i < s->cnt; i++)
		if (!strcmp(s->link[i].name, name))
			return &s->link[i];
	return NULL;
}

static void scan(struct netscan *s)
{
	struct nl_sock *sk = nettap_socket(&e);

	cr_assert(sk, "%s", e.msg);
	cr_assert_eq(netscan_read(sk, s, &e), 0, "%s", e.msg);
	nl_socket_free(sk);
}

Test(netscan, reads_interfaces)
{
	const struct netscan_link *l;
	struct json_object *o, *addrs;
	struct netscan s;

	fresh_netns();
	ip("ip link add down0 type veth peer name down1");
	ip("ip link add husk-br9 type bridge && ip link set husk-br9 up");
	scan(&s);
	l = link_of(&s, "eth0");
	cr_assert(l);
	cr_expect_eq(l->mtu, 1400);
	cr_expect_eq(memcmp(l->mac, "\x02\0\0\0\0\x05", 6), 0);
	cr_expect_str_eq(json_str(l->doc, "mac", ""), "02:00:00:00:00:05");
	cr_expect(json_flag(l->doc, "up", false) && json_flag(l->doc, "ipv6", false) &&
		  json_flag(l->doc, "arp", false));
	addrs = json_at(l->doc, "addresses");
	o = only(addrs, "address", "10.0.0.5");
	cr_expect_eq(json_i64(o, "prefix", 0), 24);
	cr_expect_str_eq(json_str(o, "broadcast", ""), "10.0.0.255");
	o = only(addrs, "address", "fd00::5");
	cr_expect_eq(json_i64(o, "prefix", 0), 64);
	/* Down without an address, loopback, our own: none of the guest's business. */
	cr_expect_null(link_of(&s, "down0"));
	cr_expect_null(link_of(&s, "lo"));
	cr_expect_null(link_of(&s, "husk-br9"));
	cr_expect_str_eq(s.alien, "");
	netscan_free(&s);
}

Test(netscan, tells_of_what_is_not_ethernet)
{
	struct netscan s;

	fresh_netns();
	ip("ip tuntap add tun9 mode tun && ip addr add 10.9.0.1/24 dev tun9");
	scan(&s);
	cr_expect_str_eq(s.alien, "tun9");
	cr_expect_null(link_of(&s, "tun9"));
	netscan_free(&s);
}

Test(netscan, reads_routes_and_neighbours)
{
	struct json_object *o;
	struct netscan s;

	fresh_netns();
	ip("ip route add default via 10.0.0.1");
	ip("ip route add 10.1.0.0/16 via 10.0.0.2 src 10.0.0.5 metric 7 mtu 1300 dev eth0 onlink");
	ip("ip route add 10.2.0.0/16 dev eth0 scope link table 300");
	ip("ip route add blackhole 10.3.0.0/16");
	ip("ip route add 10.4.0.0/16 nexthop via 10.0.0.3 dev eth0 weight 2 nexthop via 10.0.0.4 "
	   "dev eth0");
	ip("ip route add 10.5.0.0/16 dev lo");
	ip("ip -6 route add fd01::/64 via fd00::1");
	ip("ip neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev eth0 nud permanent");
	ip("ip neigh add 10.0.0.8 lladdr 02:00:00:00:00:08 dev eth0 nud stale");
	scan(&s);
	o = only(s.routes, "gateway", "10.0.0.1");
	cr_expect(!json_at(o, "destination") && json_i64(o, "family", 0) == 4);
	cr_expect_str_eq(json_str(o, "device", ""), "eth0");
	o = only(s.routes, "destination", "10.1.0.0/16");
	cr_expect(json_i64(o, "metric", 0) == 7 && json_flag(o, "onlink", false) &&
		  json_i64(o, "metrics.2", 0) == 1300);
	cr_expect_str_eq(json_str(o, "source", ""), "10.0.0.5");
	o = only(s.routes, "destination", "10.2.0.0/16");
	cr_expect(json_i64(o, "table", 0) == 300 && json_i64(o, "scope", 0) == 253);
	o = only(s.routes, "destination", "10.3.0.0/16");
	cr_expect(json_i64(o, "type", 0) == 6 && !json_at(o, "device"));
	o = only(s.routes, "destination", "10.4.0.0/16");
	cr_assert_eq(json_len(o, "nexthops"), 2);
	cr_expect_eq(json_i64(only(json_at(o, "nexthops"), "gateway", "10.0.0.3"), "weight", 0), 2);
	o = only(s.routes, "destination", "fd01::/64");
	cr_expect_str_eq(json_str(o, "gateway", ""), "fd00::1");
	/* The kernel's own, and one that leads where the guest has nothing. */
	for (size_t i = 0; i < json_object_array_length(s.routes); i++) {
		o = json_object_array_get_idx(s.routes, i);
		cr_expect_str_neq(json_str(o, "destination", ""), "10.0.0.0/24");
		cr_expect_str_neq(json_str(o, "destination", ""), "10.5.0.0/16");
	}
	cr_assert_eq(json_object_array_length(s.neighbours), 1);
	cr_expect_str_eq(json_str(only(s.neighbours, "address", "10.0.0.9"), "mac", ""),
			 "02:00:00:00:00:09");
	netscan_free(&s);
}

/* What a killed sandbox leaves is known again, and nothing else is taken for it. */
Test(nettap, sweeps_what_the_dead_have_left)
{
	const struct netscan_link *l;
	struct netscan s;
	int index;

	fresh_netns();
	ip("ip link add eth1 type veth peer name out1 && ip link set eth1 up");
	ip("ip link add eth2 type veth peer name out2 && ip link set eth2 up");
	scan(&s);
	l = link_of(&s, "eth2");
	cr_assert(l);
	index = l ? l->ifindex : 0;
	netscan_free(&s);
	/* eth0: ours, and dead; eth1: somebody else's; eth2: ours, and alive. */
	for (int i = 0; i < 3; i++) {
		ip("tc qdisc add dev eth%d ingress", i);
		ip("tc filter add dev eth%d ingress protocol all prio %d u32 match u32 0 0", i,
		   i == 1 ? 5 : 0x6873);
	}
	ip("ip tuntap add husk-tap%x mode tap", (unsigned)index);
	ip("ip link add husk-br7f type bridge && ip link add husk-br%x type bridge",
	   (unsigned)index);
	ip("ip link set husk-tap%x alias c2", (unsigned)index);
	nettap_sweep_path("/proc/self/ns/net", "c1");
	cr_expect_not(says("tc qdisc show dev eth0", "ingress"), "left of the dead");
	cr_expect(says("tc qdisc show dev eth1", "ingress"), "somebody else's");
	cr_expect(says("tc qdisc show dev eth2", "ingress"), "of one that is alive");
	cr_expect_not(says("ip link", "husk-br7f"), "a bridge of the dead");
	cr_expect(says("ip link", "husk-tap"), "the tap of one that is alive");
	/* It has been killed, and the kernel is not done with its tap yet. */
	nettap_sweep_path("/proc/self/ns/net", "c2");
	cr_expect_not(says("tc qdisc show dev eth2", "ingress"));
	cr_expect_not(says("ip link", "husk-br"));
}

/* A macvtap outlives its descriptors: it says whose it is. */
Test(nettap, a_macvtap_goes_with_its_container)
{
	char dir[] = "/tmp/husk-test-XXXXXX";
	struct nettap_env env = {.proc_fd = -1,
				 .tun_fd = -1,
				 .own_fd = -1,
				 .queues = 1,
				 .model = NET_MACVTAP,
				 .owner = "c1"};
	int fds[NETTAP_QUEUES_MAX];
	struct netscan s;

	fresh_netns();
	scan(&s);
	cr_assert(mkdtemp(dir));
	/* In the place of /dev: what fails to be opened is taken back. */
	env.dev_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	env.sk = nettap_socket(&e);
	cr_expect_lt(nettap_plug(&env, link_of(&s, "eth0"), fds, &e), 0);
	cr_expect(strstr(e.msg, "interface 'eth0': /dev/tap"), "%s", e.msg);
	cr_expect_not(says("ip link", "husk-"));
	/* As one that was killed leaves it. */
	ip("ip link add husk-mvt5 link eth0 type macvtap mode passthru");
	ip("ip link set husk-mvt5 alias c1");
	nettap_sweep_path("/proc/self/ns/net", "c2");
	cr_expect(says("ip link", "husk-mvt5"), "another one's");
	nettap_sweep_path("/proc/self/ns/net", "c1");
	cr_expect_not(says("ip link", "husk-mvt5"));
	cr_expect_eq(rmdir(dir), 0);
	(void)close(env.dev_fd);
	nl_socket_free(env.sk);
	netscan_free(&s);
}

/* Nobody is asked to clean up behind a name space that has gone. */
Test(nettap, sweeps_nowhere)
{
	nettap_sweep_path("/nowhere", "c1");
}

Test(netdns, knows_who_needs_it)
{
	cr_expect(netdns_is_in("nameserver 127.0.0.11"));
	cr_expect(netdns_is_in("# x\nsearch a\nnameserver \t127.0.0.11\noptions ndots:0\n"));
	cr_expect_not(netdns_is_in(""));
	cr_expect_not(netdns_is_in("nameserver 127.0.0.1\n"));
	cr_expect_not(netdns_is_in("nameserver 127.0.0.110\n"));
	cr_expect_not(netdns_is_in("#nameserver 127.0.0.11\n"));
}

static int name_server(const char *addr, int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	cr_assert_eq(inet_pton(AF_INET, addr, &a.sin_addr), 1);
	cr_assert_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0, "%s", strerror(errno));
	return fd;
}

/* Takes a question off @fd and gives it back as an answer with its first byte after the head changed. */
static void serve(int fd, int from_fd)
{
	struct sockaddr_in a;
	socklen_t alen = sizeof(a);
	uint8_t msg[512];
	ssize_t n = recvfrom(fd, msg, sizeof(msg), 0, (struct sockaddr *)&a, &alen);

	cr_assert_gt(n, 12);
	msg[12]++;
	cr_assert_eq(sendto(from_fd, msg, (size_t)n, 0, (struct sockaddr *)&a, alen), n);
}

static void wait_for(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	cr_assert_eq(poll(&p, 1, 5000), 1);
}

static struct netdns dns;

Test(netdns, answers_go_to_their_questions)
{
	uint8_t q[13] = {0x12, 0x34}, *buf = dns.buf;
	uint32_t id = 0;
	int server, liar;

	fresh_netns();
	server = name_server("127.0.0.11", 53);
	liar = name_server("127.0.0.12", 53);
	cr_assert_eq(netdns_open(&dns), 0);
	cr_expect_eq(netdns_answer(&dns, &id), 0);
	/* Two with the same number of their own. */
	netdns_ask(&dns, 7, q, sizeof(q));
	memcpy(q, "\x12\x34", 2);
	q[12] = 40;
	netdns_ask(&dns, 8, q, sizeof(q));
	serve(server, server);
	serve(server, server);
	wait_for(dns.fd);
	cr_assert_eq(netdns_answer(&dns, &id), sizeof(q));
	cr_expect(id == 7 && buf[0] == 0x12 && buf[1] == 0x34 && buf[12] == 1);
	cr_assert_eq(netdns_answer(&dns, &id), sizeof(q));
	cr_expect(id == 8 && buf[0] == 0x12 && buf[1] == 0x34 && buf[12] == 41);
	/* From somewhere else, too short, and answered already. */
	netdns_ask(&dns, 9, q, sizeof(q));
	serve(server, liar);
	wait_for(dns.fd);
	cr_expect_eq(netdns_answer(&dns, &id), 0);
	netdns_ask(&dns, 9, q, 11);
	netdns_ask(&dns, 0, q, sizeof(q));
	cr_expect_lt(recv(server, buf, sizeof(dns.buf), MSG_DONTWAIT), 0,
		     "a question that is none");
	netdns_close(&dns);
}

/* The same by TCP: in pieces, one that nobody answers, one whose connection ends. */
Test(netdns, by_tcp)
{
	static uint8_t q[100] = {0x12, 0x34}, in[102], answer[40002];
	int on = 1, listener, conn;
	struct pollfd p[NETDNS_POLLS];
	uint32_t id = 0;

	fresh_netns();
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	{
		struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(53)};

		a.sin_addr.s_addr = htonl(0x7f00000b);
		(void)setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		cr_assert_eq(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
		cr_assert_eq(listen(listener, 20), 0);
	}
	cr_assert_eq(netdns_open(&dns), 0);
	netdns_ask_tcp(&dns, 7, q, sizeof(q));
	cr_expect_eq(netdns_answer(&dns, &id), 0);
	conn = accept(listener, NULL, NULL);
	cr_assert_eq(recv(conn, in, sizeof(in), MSG_WAITALL), sizeof(in));
	cr_expect(in[0] == 0 && in[1] == 100 && !memcmp(in + 2, q, sizeof(q)),
		  "its length, then it");
	answer[0] = 40000 >> 8;
	answer[1] = 40000 & 0xff;
	answer[40001] = 99;
	cr_assert_eq(send(conn, answer, 1, 0), 1);
	netdns_polls(&dns, p);
	cr_assert_eq(poll(p, NETDNS_POLLS, 5000), 1);
	cr_expect_eq(netdns_answer(&dns, &id), 0, "not the whole of it");
	cr_assert_eq(send(conn, answer + 1, 40001, 0), 40001);
	for (size_t len = 0; len == 0;) {
		netdns_polls(&dns, p);
		cr_assert_eq(poll(p, NETDNS_POLLS, 5000), 1);
		len = netdns_answer(&dns, &id);
		cr_assert(len == 0 || len == 40000);
	}
	cr_expect(id == 7 && dns.buf[39999] == 99);
	(void)close(conn);
	/* Without an answer; too short to be a question. */
	netdns_ask_tcp(&dns, 8, q, sizeof(q));
	cr_expect_eq(netdns_answer(&dns, &id), 0);
	conn = accept(listener, NULL, NULL);
	(void)close(conn);
	netdns_polls(&dns, p);
	cr_assert_eq(poll(p, NETDNS_POLLS, 5000), 1);
	cr_expect_eq(netdns_answer(&dns, &id), 0);
	netdns_ask_tcp(&dns, 9, q, 11);
	netdns_polls(&dns, p);
	for (unsigned i = 1; i < NETDNS_POLLS; i++)
		cr_expect_eq(p[i].fd, -1, "nothing is open");
	/* More than there is room for: the oldest go. */
	for (uint32_t i = 0; i < 3 * NETDNS_TCP_MAX; i++)
		netdns_ask_tcp(&dns, 10 + i, q, sizeof(q));
	netdns_close(&dns);
	(void)close(listener);
}

/* ---- netown --------------------------------------------------------------------------------------- */

static int socket_at(int type, const char *addr, const char *port_of_peer, const char *peer)
{
	int family = strchr(addr, ':') ? AF_INET6 : AF_INET, fd = socket(family, type, 0);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(5353)};
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_port = htons(5353)};
	struct sockaddr *sa = family == AF_INET ? (struct sockaddr *)&a : (struct sockaddr *)&a6;
	socklen_t len = family == AF_INET ? sizeof(a) : sizeof(a6);
	void *to = family == AF_INET ? (void *)&a.sin_addr : (void *)&a6.sin6_addr;

	cr_assert_eq(inet_pton(family, addr, to), 1);
	cr_assert_eq(bind(fd, sa, len), 0, "%s: %s", addr, strerror(errno));
	if (!peer)
		return fd;
	a.sin_port = a6.sin6_port = htons((uint16_t)atoi(port_of_peer));
	cr_assert_eq(inet_pton(family, peer, to), 1);
	cr_assert_eq(connect(fd, sa, len), 0, "%s: %s", peer, strerror(errno));
	return fd;
}

/* Through the filters a connected socket of the name space has its answers, and the rest goes to the tap. */
Test(netown, answers_reach_the_name_spaces_own_sockets)
{
	struct nettap_env env = {.queues = 1, .model = NET_TC, .owner = "c1"};
	int ext4, ext6, con4, con6, open4, fds[NETTAP_QUEUES_MAX];
	struct netscan s;
	char buf[2048];

	two_netns();
	ext4 = socket_at(SOCK_DGRAM, "10.0.0.1", NULL, NULL);
	ext6 = socket_at(SOCK_DGRAM, "fd00::1", NULL, NULL);
	cr_assert_eq(setns(ours, CLONE_NEWNET), 0);
	scan(&s);
	env.proc_fd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	env.tun_fd = open("/dev/net/tun", O_PATH | O_CLOEXEC);
	env.dev_fd = -1;
	env.own_fd = netown_load();
	cr_assert_geq(env.own_fd, 0, "%s", strerror(-env.own_fd));
	env.sk = nettap_socket(&e);
	cr_assert_eq(nettap_plug(&env, link_of(&s, "eth0"), fds, &e), 0, "%s", e.msg);
	con4 = socket_at(SOCK_DGRAM, "10.0.0.5", "5353", "10.0.0.1");
	con6 = socket_at(SOCK_DGRAM, "fd00::5", "5353", "fd00::1");
	/* It asks, which takes an answer of the neighbour's; and is answered. */
	cr_expect_eq(send(con4, "x", 1, 0), 1);
	cr_expect_eq(send(con6, "x", 1, 0), 1);
	cr_expect(readable(ext4), "IPv4 went out");
	cr_expect(readable(ext6), "IPv6 went out");
	for (int i = 0; i < 2; i++) {
		struct sockaddr_storage a;
		socklen_t len = sizeof(a);
		int fd = i ? ext6 : ext4;

		cr_assert_eq(recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&a, &len), 1);
		cr_assert_eq(sendto(fd, "yes", 3, 0, (struct sockaddr *)&a, len), 3);
		cr_expect(readable(i ? con6 : con4), "the answer to %d came", i);
	}
	while (read(fds[0], buf, sizeof(buf)) > 0)
		; /* answers of neighbours, for both */
	/* From another port than the one that it is connected to: the guest's. */
	(void)close(con4);
	open4 = socket_at(SOCK_DGRAM, "10.0.0.5", NULL, NULL);
	(void)close(ext4);
	cr_assert_eq(setns(theirs, CLONE_NEWNET), 0);
	ext4 = socket_at(SOCK_DGRAM, "10.0.0.1", "5353", "10.0.0.5");
	cr_assert_eq(send(ext4, "mine", 4, 0), 4);
	cr_expect(readable(fds[0]), "what only listens gets nothing");
	cr_expect_not(readable(open4));
	netscan_free(&s);
	nl_socket_free(env.sk);
}
