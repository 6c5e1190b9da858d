/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network watcher in a name space of the test's own, without a guest: what it tells the loop when
 * interfaces, addresses, routes and neighbours come, change and go, in each model; packets between a
 * tap's descriptor and the other end of the pair; and that nothing is left.
 */
#include <criterion/criterion.h>
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "runtime/netwatch.h"
#include "tests/unit/netns.h"
#include "virtio/devices.h"

#define TAP_HDR 10 /* struct virtio_net_hdr: the device sets 12 */

static struct loop *loop;
static struct netwatch *watch;
static struct err e;

/* What was told last. */
static struct json_object *doc;
static unsigned told;
static bool asked;
static char why[1024];
static struct netwatch_nic nics[64];
static size_t nic_cnt;
static unsigned queues = 1;

static void on_news(void *ctx, struct netwatch_news *n)
{
	(void)ctx;
	told++;
	asked = n->asked;
	json_object_put(doc);
	doc = json_object_get(n->doc);
	(void)snprintf(why, sizeof(why), "%s", n->err.code ? n->err.msg : "");
	for (size_t i = 0; i < n->nic_cnt; i++) {
		nics[nic_cnt] = n->nic[i];
		for (unsigned q = 0; q < queues; q++)
			nics[nic_cnt].fds[q] = fd_take(&n->nic[i].fds[q]);
		nic_cnt++;
	}
	netwatch_news_free(n);
}

static void make(enum net_model model)
{
	struct netwatch_config cfg = {.proc_fd =
					  open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
				      .tun_fd = open("/dev/net/tun", O_PATH | O_CLOEXEC),
				      .dev_fd = -1,
				      .own_fd = -1,
				      .model = model,
				      .queues = queues,
				      .owner = "c1",
				      .news = on_news};

	cr_assert(loop_new(&loop, 64, &e) == 0 && netwatch_new(&watch, loop, &cfg, &e) == 0, "%s",
		  e.msg);
}

/* Until something new has been told. */
static void hear(void)
{
	unsigned before = told;

	while (told == before)
		cr_assert_eq(loop_step(loop, true), 0);
}

static void pair(void)
{
	two_netns();
	cr_assert_eq(setns(ours, CLONE_NEWNET), 0);
}

/* One more, with its other end out of sight. */
static void plug_in(const char *name)
{
	ip("ip link add %s type veth peer name o%s netns /proc/%d/fd/%d", name, name, getpid(),
	   theirs);
	ip("ip link set %s up", name);
}

static void begin(enum net_model model)
{
	pair();
	make(model);
	netwatch_begin(watch);
	hear();
}

static void end(void)
{
	netwatch_free(watch);
	for (size_t i = 0; i < nic_cnt; i++)
		for (unsigned q = 0; q < queues; q++)
			fd_close(&nics[i].fds[q]);
	loop_free(loop);
	json_object_put(doc);
}

TestSuite(netwatch, .timeout = 60);

static const char *text(void)
{
	return json_object_to_json_string_ext(doc, JSON_C_TO_STRING_PLAIN |
						       JSON_C_TO_STRING_NOSLASHESCAPE);
}

static bool has(const char *s)
{
	return strstr(text(), s) != NULL;
}

/* Tells until @s is there, or is not. */
static void hear_of(const char *s, bool there)
{
	while (has(s) != there)
		hear();
	cr_expect_str_eq(why, "");
}

Test(netwatch, changes_are_told_while_it_lives)
{
	begin(NET_TC);
	cr_assert_eq(nic_cnt, 1);
	cr_expect_str_eq(nics[0].name, "eth0");
	cr_expect(has("\"mtu\":1400") && has("10.0.0.5"));
	ip("ip link set eth0 mtu 1300");
	hear_of("\"mtu\":1300", true);
	cr_expect(says("ip link show type tun", "mtu 1300"), "its tap followed");
	ip("ip addr add 10.0.0.6/24 dev eth0");
	hear_of("10.0.0.6", true);
	ip("ip addr del 10.0.0.6/24 dev eth0");
	hear_of("10.0.0.6", false);
	ip("ip addr add fd00::6/64 dev eth0 nodad");
	hear_of("fd00::6", true);
	ip("ip addr del fd00::6/64 dev eth0");
	hear_of("fd00::6", false);
	ip("ip route add 10.7.0.0/16 via 10.0.0.1");
	hear_of("10.7.0.0/16", true);
	ip("ip route change 10.7.0.0/16 via 10.0.0.2");
	hear_of("\"gateway\":\"10.0.0.2\"", true);
	ip("ip route del 10.7.0.0/16");
	hear_of("10.7.0.0/16", false);
	ip("ip neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev eth0 nud permanent");
	hear_of("10.0.0.9", true);
	ip("ip neigh del 10.0.0.9 dev eth0");
	hear_of("10.0.0.9", false);
	ip("ip link set eth0 down");
	hear_of("\"up\":false", true);
	ip("ip link set eth0 up");
	hear_of("\"up\":true", true);
	ip("ip link set eth0 address 02:00:00:00:00:55");
	hear_of("02:00:00:00:00:55", true);
	cr_expect_eq(nic_cnt, 1, "it is the same NIC");
	end();
}

/* The thread may still be putting itself to rest, which a caller cannot wait for but by asking. */
static bool becomes_current(void)
{
	uint64_t until = clock_ns() + 10 * NS_PER_SEC;

	while (!netwatch_is_current(watch) && clock_ns() < until) {
		cr_assert_eq(loop_step(loop, false), 0);
		(void)sched_yield();
	}
	return netwatch_is_current(watch);
}

Test(netwatch, knows_whether_everything_is_told)
{
	unsigned before;

	begin(NET_TC);
	cr_expect(asked, "the first news are those that were asked for");
	cr_assert(becomes_current()); /* with what plugging itself has changed */
	ip("ip addr add 10.0.0.6/24 dev eth0");
	cr_expect_not(netwatch_is_current(watch), "what has changed is not told yet");
	hear_of("10.0.0.6", true);
	cr_expect_not(asked);
	cr_expect(becomes_current());
	before = told;
	netwatch_begin(watch);
	cr_expect_not(netwatch_is_current(watch), "what was asked for is not told yet");
	hear();
	cr_expect(asked && told == before + 1, "asked again, it tells what has not changed, too");
	cr_expect(becomes_current());
	end();
}

Test(netwatch, interfaces_come_and_go)
{
	begin(NET_TC);
	plug_in("eth1");
	ip("ip addr add 10.1.0.1/24 dev eth1");
	hear_of("10.1.0.1", true);
	while (nic_cnt < 2)
		hear();
	cr_expect_str_eq(nics[1].name, "eth1");
	ip("ip link set eth1 down && ip link set eth1 name blue0 && ip link set blue0 up");
	hear_of("blue0", true);
	cr_expect_eq(nic_cnt, 2, "another name, the same NIC");
	ip("ip link del blue0");
	hear_of("blue0", false);
	cr_expect(has("eth0"));
	end();
	cr_expect_not(says("tc qdisc show", "ingress"));
	cr_expect_not(says("ip link", "husk-"));
}

Test(netwatch, twenty_interfaces)
{
	pair();
	for (int i = 1; i < 20; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "eth%d", i);
		plug_in(name);
	}
	make(NET_TC);
	netwatch_begin(watch);
	hear();
	cr_expect_str_eq(why, "");
	cr_expect_eq(nic_cnt, 20);
	end();
	cr_expect_not(says("tc qdisc show", "ingress"));
	cr_expect_not(says("ip link", "husk-"));
}

/* Plugged by the first, refused to the second, which leaves the first one's alone. */
Test(netwatch, an_interface_has_one_owner)
{
	struct netwatch *first;
	struct loop *first_loop;

	begin(NET_TC);
	first = watch;
	first_loop = loop;
	make(NET_TC);
	netwatch_begin(watch);
	hear();
	cr_expect(strstr(why, "another microVM's"), "%s", why);
	netwatch_free(watch);
	loop_free(loop);
	watch = first;
	loop = first_loop;
	cr_expect(says("tc qdisc show dev eth0", "ingress"), "the first one's filter is there");
	end();
	cr_expect_not(says("tc qdisc show", "ingress"));
}

/* Each a queue of the tap's, as the device wants them. */
Test(netwatch, several_queues)
{
	struct net_config cfg = {.queues = 3, .mac = {2, 0, 0, 0, 0, 5}};
	struct virtio_dev *dev;

	queues = 3;
	begin(NET_BRIDGE);
	cr_assert_eq(nic_cnt, 1, "%s", why);
	for (unsigned q = 0; q < queues; q++)
		cfg.fd[q] = fd_take(&nics[0].fds[q]);
	cr_assert_eq(net_new(&dev, "net0", &cfg, &e), 0, "%s", e.msg);
	virtio_free(dev);
	end();
	cr_expect_not(says("ip link", "husk-"));
}

Test(netwatch, refusals)
{
	pair();
	ip("tc qdisc add dev eth0 ingress");
	make(NET_TC);
	netwatch_begin(watch);
	hear();
	cr_expect_str_eq(why, "interface 'eth0' has an ingress qdisc already");
	cr_expect_eq(nic_cnt, 0);
	cr_expect_not(says("ip link", "husk-"), "its tap has gone");
	/* Said once, and what it did itself is no reason to try again. */
	for (unsigned before = told, i = 0; i < 30; i++) {
		cr_assert_eq(loop_step(loop, false), 0);
		(void)poll(NULL, 0, 50);
		cr_assert_eq(told, before);
	}
	ip("tc qdisc del dev eth0 ingress && ip link set eth0 mtu 65535");
	while (!strstr(why, "MTU"))
		hear();
	cr_expect_str_eq(why, "interface 'eth0': an MTU of 65535 is more than a tap takes");
	cr_expect_not(says("ip link", "husk-"));
	/* The others are as they are, whatever is wrong with this one. */
	plug_in("eth1");
	ip("ip addr add 10.1.0.1/24 dev eth1");
	while (!nic_cnt || !has("10.1.0.1"))
		hear();
	cr_expect_str_eq(nics[0].name, "eth1");
	cr_expect_not(has("10.0.0.5"));
	/* What was wrong has been put right. */
	ip("ip link set eth0 mtu 1400");
	while (nic_cnt < 2)
		hear();
	cr_expect_str_eq(why, "");
	end();
}

Test(netwatch, without_a_tap_to_be_had)
{
	pair();
	make(NET_TC);
	end();
	watch = NULL;
	loop = NULL;
	doc = NULL;
	{
		struct netwatch_config cfg = {.proc_fd = -1,
					      .tun_fd = -1,
					      .dev_fd = -1,
					      .own_fd = -1,
					      .queues = 1,
					      .owner = "c1",
					      .news = on_news};

		cr_assert(loop_new(&loop, 64, &e) == 0 &&
			  netwatch_new(&watch, loop, &cfg, &e) == 0);
	}
	netwatch_begin(watch);
	hear();
	cr_expect_str_eq(why, "interface 'eth0': /dev/net/tun does not exist on this host");
	end();
}

Test(netwatch, none_plugs_nothing)
{
	pair();
	ip("ip route add default via 10.0.0.1");
	ip("ip neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev eth0 nud permanent");
	make(NET_NONE);
	netwatch_begin(watch);
	hear();
	cr_expect_eq(nic_cnt, 0);
	cr_expect_eq(json_len(doc, "routes") + json_len(doc, "neighbours"), 0, "they need a NIC");
	cr_expect_eq(json_len(doc, "interfaces"), 0);
	cr_expect_not(says("tc qdisc show", "ingress"));
	end();
}

/* ---- packets ------------------------------------------------------------------------------------ */

/* At the other end. */
static int raw_socket(const char *name)
{
	struct sockaddr_ll a = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	int fd;

	cr_assert_eq(setns(theirs, CLONE_NEWNET), 0);
	a.sll_ifindex = (int)if_nametoindex(name);
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));
	cr_assert_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0, "%s", strerror(errno));
	cr_assert_eq(setns(ours, CLONE_NEWNET), 0);
	return fd;
}

static const uint8_t to_guest[60] = {2, 0, 0, 0, 0, 5, 2, 0, 0, 0, 0, 1, 0x88, 0xb5, 'i', 'n'};
static const uint8_t from_guest[60] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 5, 0x88, 0xb5, 'o', 'u'};

/* Who has 10.0.0.5? (RFC 826) */
static const uint8_t who_has[60] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0,	1, 8, 6,
				    0,	  1,	8,    0,    6,	  4,	0, 1, 2, 0, 0,	0, 0, 1,
				    10,	  0,	0,    9,    0,	  0,	0, 0, 0, 0, 10, 0, 0, 5};

/* Reads until that packet comes, whatever else the kernel says but an answer of ARP; @skip bytes of header. */
static bool comes(int fd, const uint8_t *packet, size_t skip)
{
	static const uint8_t is_at[] = {8, 6, 0, 1, 8, 0, 6, 4, 0, 2};
	uint8_t buf[2048];
	ssize_t n;

	while (readable(fd) && (n = read(fd, buf, sizeof(buf))) > 0) {
		cr_expect(n < 60 || memcmp(buf + skip + 12, is_at, sizeof(is_at)) != 0,
			  "the host answers for the guest");
		if ((size_t)n >= skip + 60 && !memcmp(buf + skip, packet, 60))
			return true;
	}
	return false;
}

static void packets_pass(enum net_model model)
{
	uint8_t buf[TAP_HDR + 60] = {0};
	int out;

	begin(model);
	cr_assert_eq(nic_cnt, 1, "%s", why);
	cr_expect_eq(memcmp(nics[0].mac, "\x02\0\0\0\0\x05", 6), 0);
	cr_expect(says("ip link show eth0", "02:00:00:00:00:05"), "it keeps its MAC");
	out = raw_socket("out0");
	cr_assert_eq(write(out, to_guest, sizeof(to_guest)), sizeof(to_guest));
	cr_expect(comes(nics[0].fds[0], to_guest, TAP_HDR), "in");
	cr_assert_eq(write(out, who_has, sizeof(who_has)), sizeof(who_has));
	cr_expect(comes(nics[0].fds[0], who_has, TAP_HDR), "a question to all");
	memcpy(buf + TAP_HDR, from_guest, sizeof(from_guest));
	cr_assert_eq(write(nics[0].fds[0], buf, sizeof(buf)), sizeof(buf));
	cr_expect(comes(out, from_guest, 0), "out");
	end();
	cr_expect_not(says("ip link", "husk-"));
	cr_expect_not(says("tc qdisc show", "ingress"));
}

Test(netwatch, packets_pass_by_tc)
{
	packets_pass(NET_TC);
}

Test(netwatch, packets_pass_by_a_bridge)
{
	packets_pass(NET_BRIDGE);
}

/* The engine takes its interface for what it made; we tell of it as of one that is free. */
Test(netwatch, a_bridge_changes_with_its_interface)
{
	begin(NET_BRIDGE);
	ip("ip addr add 10.0.0.6/24 dev eth0");
	hear_of("10.0.0.6", true);
	ip("ip link set eth0 mtu 1300");
	hear_of("\"mtu\":1300", true);
	cr_expect(has("eth0"));
	end();
	cr_expect_not(says("ip link", "husk-"));
}
