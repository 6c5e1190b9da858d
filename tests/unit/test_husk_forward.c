/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections to a network name space's own addresses: through the program on lo to the sandbox's sockets,
 * and over the link, whose other end is the test. In a name space of the test's own, as root only.
 */
#include "link_pair.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "runtime/forward.h"
#include "runtime/netown.h"
#include "runtime/nettap.h"
#include "tests/unit/netns.h"

static struct loop *l;
static struct err e;
static int proc_fd = -1;
static struct forwards all;
static struct nettap_env env = {.queues = 1, .model = NET_BRIDGE, .owner = "c1"};
static uint64_t last_base = 1;
static unsigned dials;
static int dial_rc;
static char address[64];
static uint16_t port;

static uint64_t next_base(void *ctx)
{
	(void)ctx;
	return last_base += 2;
}

static int dial(void *ctx, uint64_t base, const char *addr, uint16_t to)
{
	(void)ctx;
	dials++;
	(void)snprintf(address, sizeof(address), "%s", addr);
	port = to;
	cr_assert_eq(link_open(agent.l, base), 0);
	return dial_rc;
}

static void flush(void *ctx)
{
	(void)ctx;
}

static const struct forwards_ops fwd_ops = {.next_base = next_base, .dial = dial, .flush = flush};

static void h_data(void *ctx, uint64_t stream, const void *buf, size_t len)
{
	(void)ctx;
	if (!forwards_data(&all, stream, buf, len))
		link_consumed(all.link, stream, len);
}

static void h_eof(void *ctx, uint64_t stream)
{
	(void)ctx;
	(void)forwards_eof(&all, stream);
}

static void h_closed(void *ctx, uint64_t stream)
{
	(void)ctx;
	(void)forwards_closed(&all, stream);
}

static void h_writable(void *ctx, uint64_t stream)
{
	(void)ctx;
	(void)forwards_writable(&all, stream);
}

static const struct link_ops host_ops = {.up = on_up,
					 .data = h_data,
					 .eof = h_eof,
					 .closed = h_closed,
					 .writable = h_writable,
					 .exited = on_exited,
					 .broken = on_broken};

static void settle(void)
{
	for (int i = 0; i < 8; i++) {
		pump(0);
		cr_assert_eq(loop_step(l, false), 0);
	}
}

static void setup(void)
{
	int fds[FORWARD_FDS];

	(void)signal(SIGPIPE, SIG_IGN);
	fresh_netns();
	cr_assert_eq(loop_new(&l, 16, &e), 0, "%s", e.msg);
	proc_fd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	begin();
	link_free(host.l);
	host.l = link_new(LINK_HOST, &host_ops, &host);
	cr_assert_eq(link_announce(agent.l, READY), 0);
	pump(0);
	forward_listen(fds);
	cr_assert(fds[0] >= 0 && fds[1] >= 0);
	for (unsigned i = 0; i < FORWARD_FDS; i++)
		all.listener[i].fd = fds[i];
	env.own_fd = netown_load();
	cr_assert_geq(env.own_fd, 0, "%s", strerror(-env.own_fd));
	env.sk = nettap_socket(&e);
	cr_assert_eq(nettap_plug_lo(&env, &e), 0, "%s", e.msg);
	forwards_begin(&all, l, host.l, proc_fd, &fwd_ops, NULL);
}

static void teardown(void)
{
	forwards_end(&all);
	cr_expect_eq(all.cnt, 0);
	nl_socket_free(env.sk);
	(void)close(env.own_fd);
	finish();
	loop_free(l);
	fd_close(&proc_fd);
}

TestSuite(forward, .init = setup, .fini = teardown, .timeout = 60);

/* A socket at @addr, or connected to it; or -errno. */
static int tcp(const char *addr, uint16_t number, bool is_server)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(number)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(number)};
	bool is_v6 = strchr(addr, ':');
	struct sockaddr *sa = is_v6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4;
	socklen_t len = is_v6 ? sizeof(v6) : sizeof(v4);
	int fd = socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

	cr_assert_eq(inet_pton(is_v6 ? AF_INET6 : AF_INET, addr,
			       is_v6 ? (void *)&v6.sin6_addr : &v4.sin_addr),
		     1);
	rc = is_server ? bind(fd, sa, len) || listen(fd, 5) : connect(fd, sa, len);
	if (rc) {
		rc = -errno;
		(void)close(fd);
		return rc;
	}
	return fd;
}

static int dialled(const char *addr, uint16_t number)
{
	int fd = tcp(addr, number, false);

	cr_assert_geq(fd, 0, "%s: %s", addr, strerror(-fd));
	settle();
	cr_expect_str_eq(address, addr);
	cr_expect_eq(port, number);
	return fd;
}

/* What is not there for somebody else goes to the guest: each address of the name space, both families. */
Test(forward, where_nobody_listens)
{
	static const char *const addrs[] = {"127.0.0.1", "::1", "10.0.0.5", "fd00::5"};

	for (uint16_t i = 0; i < ARRAY_LEN(addrs); i++)
		(void)close(dialled(addrs[i], (uint16_t)(4000 + i)));
	cr_expect_eq(dials, ARRAY_LEN(addrs));
}

/* Servers of the name space keep their ports, and the name server's addresses are nobody's. */
Test(forward, what_is_somebody_elses_stays)
{
	int server = tcp("127.0.0.1", 5000, true), fd = tcp("127.0.0.1", 5000, false), got;

	cr_assert(server >= 0 && fd >= 0);
	got = accept(server, NULL, NULL);
	cr_assert_geq(got, 0);
	cr_assert_eq(send(fd, "x", 1, 0), 1);
	cr_expect(readable(got));
	cr_expect_eq(tcp("127.0.0.11", 53, false), -ECONNREFUSED);
	settle();
	cr_expect_eq(dials, 0);
	/* Taken away, lo is as it was. */
	nettap_unplug_lo(&env);
	cr_expect_eq(tcp("127.0.0.1", 4000, false), -ECONNREFUSED);
	cr_expect_not(says("tc qdisc show dev lo", "ingress"));
	(void)close(server);
	(void)close(fd);
	(void)close(got);
}

/* Of a sandbox that was killed it goes with the sweep. */
Test(forward, swept)
{
	cr_expect(says("tc qdisc show dev lo", "ingress"));
	cr_assert_eq(nettap_sweep(env.sk, "c2"), 0);
	cr_expect_not(says("tc qdisc show dev lo", "ingress"));
}

Test(forward, bytes_and_ends_go_both_ways)
{
	int fd = dialled("127.0.0.1", 80);
	char buf[16] = "";

	/* Nothing goes before the guest has taken it. */
	cr_assert_eq(send(fd, "ask", 3, 0), 3);
	settle();
	cr_expect_eq(agent.got.len, 0);
	forwards_dialled(&all, last_base, true);
	settle();
	cr_assert_eq(agent.got.len, 3);
	cr_assert_eq(link_send(agent.l, last_base, "answer", 6), 6);
	settle();
	cr_expect_eq(recv(fd, buf, sizeof(buf), 0), 6);
	cr_expect_str_eq(buf, "answer");
	/* One direction ends, the other goes on. */
	cr_assert_eq(shutdown(fd, SHUT_WR), 0);
	settle();
	cr_expect_eq(agent.eofs, 1);
	cr_assert_eq(link_send(agent.l, last_base, "more", 4), 4);
	link_send_eof(agent.l, last_base);
	settle();
	cr_expect_eq(recv(fd, buf, sizeof(buf), MSG_WAITALL), 4);
	cr_expect_eq(recv(fd, buf, sizeof(buf), 0), 0);
	cr_expect_eq(all.cnt, 0);
	(void)close(fd);
}

Test(forward, the_guests_end_first)
{
	int fd = dialled("127.0.0.1", 80);
	char c;

	forwards_dialled(&all, last_base, true);
	link_send_eof(agent.l, last_base);
	settle();
	cr_expect_eq(recv(fd, &c, 1, 0), 0);
	cr_assert_eq(send(fd, "late", 4, 0), 4);
	settle();
	cr_expect_eq(agent.got.len, 4, "the client may still speak");
	link_send_closed(agent.l, last_base);
	settle();
	cr_expect_eq(all.cnt, 0);
	(void)close(fd);
}

Test(forward, refused)
{
	int fd = dialled("127.0.0.1", 80), other;
	char c;

	forwards_dialled(&all, last_base, false);
	settle();
	cr_expect_eq(recv(fd, &c, 1, 0), 0);
	cr_expect_eq(all.cnt, 0);
	forwards_dialled(&all, last_base, true); /* of one that is gone */
	dial_rc = -ESRCH;
	other = dialled("127.0.0.1", 81);
	cr_expect_eq(recv(other, &c, 1, 0), 0);
	cr_expect_eq(all.cnt, 0);
	(void)close(fd);
	(void)close(other);
}

/* A client that reads nothing stalls itself; one that is gone is told to the guest. */
Test(forward, clients_that_stall_or_go)
{
	static char junk[LINK_WINDOW];
	struct linger now = {.l_onoff = 1};
	int fd = dialled("127.0.0.1", 80);
	size_t sent = 0, n;

	forwards_dialled(&all, last_base, true);
	while ((n = link_send(agent.l, last_base, junk, sizeof(junk))) > 0) {
		sent += n;
		settle();
	}
	cr_expect_geq(sent, sizeof(junk));
	cr_expect_eq(all.cnt, 1);
	cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
	(void)close(fd);
	settle();
	cr_expect_eq(agent.closeds, 1);
	cr_expect_eq(all.cnt, 0);
}

Test(forward, too_many)
{
	int fd[FORWARDS_MAX + 1];
	char c;

	for (unsigned i = 0; i < ARRAY_LEN(fd); i++) {
		fd[i] = tcp("127.0.0.1", 80, false);
		cr_assert_geq(fd[i], 0);
		settle();
	}
	cr_expect_eq(all.cnt, FORWARDS_MAX);
	cr_expect_eq(recv(fd[FORWARDS_MAX], &c, 1, 0), 0);
	for (unsigned i = 0; i < ARRAY_LEN(fd); i++)
		(void)close(fd[i]);
}
