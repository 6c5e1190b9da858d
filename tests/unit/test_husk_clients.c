/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox's socket under clients that mean no good: one that is not to be read from, one that
 * goes away then, one that comes at the end, descriptors that run out and ones that nobody asked for.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "runtime/clients.h"
#include "runtime/state.h"

static struct loop *l;
static struct clients *cl;
static char dir[] = "/tmp/husk-clients.XXXXXX";
static int dir_fd;
static unsigned hypers;
static proxy_req_t last;

static void on_hyper(void *ctx, proxy_req_t req, uint32_t cmd, uint64_t base, const char *json,
		     size_t len)
{
	(void)ctx;
	(void)cmd;
	(void)base;
	(void)json;
	(void)len;
	hypers++;
	last = req;
}

static unsigned want_fds, got_fds, goners;
static int taken[FD_PASS_MAX];

static void on_husk(void *ctx, proxy_client_t c, proxy_req_t req, const char *json, size_t len)
{
	(void)ctx;
	if (want_fds)
		got_fds = clients_take_fds(cl, c, taken, want_fds);
	proxy_reply(clients_proxy(cl), req, json, len);
}

static void on_output(void *ctx, proxy_client_t c)
{
	(void)ctx;
	(void)c;
	clients_wake(cl);
}

static void on_gone(void *ctx, proxy_client_t c)
{
	(void)ctx;
	(void)c;
	goners++;
}

static const struct proxy_ops ops = {
    .hyper = on_hyper, .husk = on_husk, .random = clients_random, .output = on_output};

static void setup(void)
{
	struct err e = {0};
	int fd;

	(void)signal(SIGPIPE, SIG_IGN);
	cr_assert_not_null(mkdtemp(dir));
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert(dir_fd >= 0);
	cr_assert_eq(loop_new(&l, 16, &e), 0, "%s", e.msg);
	fd = clients_listen(dir_fd, &e);
	cr_assert(fd >= 0, "%s", e.msg);
	cr_assert_eq(clients_new(&cl, l, fd, "c1", &ops, NULL, &e), 0, "%s", e.msg);
	clients_on_gone(cl, on_gone, NULL);
	(void)loop_step(l, false);
}

static void teardown(void)
{
	clients_free(cl);
	loop_free(l);
	(void)unlinkat(dir_fd, STATE_SOCK, 0);
	fd_close(&dir_fd);
	(void)rmdir(dir);
}

TestSuite(clients, .init = setup, .fini = teardown, .timeout = 30);

static int dial(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	(void)snprintf(a.sun_path, sizeof(a.sun_path), "%s/" STATE_SOCK, dir);
	cr_assert(s >= 0);
	cr_assert_eq(connect(s, (struct sockaddr *)&a, sizeof(a)), 0);
	return s;
}

static size_t put_frame(uint8_t *at, uint8_t opcode, const char *json)
{
	proxy_put_header(at, PROXY_COMMAND, opcode, false, (uint32_t)strlen(json));
	memcpy(at + PROXY_HEADER_LEN, json, strlen(json));
	return PROXY_HEADER_LEN + strlen(json);
}

static void say(int s, uint8_t opcode, const char *json)
{
	uint8_t frame[256];
	size_t n = put_frame(frame, opcode, json);

	cr_assert_eq(send(s, frame, n, 0), (ssize_t)n);
}

static bool readable(int s)
{
	struct pollfd p = {.fd = s, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

/* Steps until the client has something to read. */
static void until_answer(int s)
{
	while (!readable(s))
		cr_assert_eq(loop_step(l, true), 0);
}

static void settle(void)
{
	for (int i = 0; i < 8; i++)
		cr_assert_eq(loop_step(l, false), 0);
}

static unsigned fds_open(void)
{
	unsigned n = 0;

	for (int i = 0; i < 256; i++)
		n += fcntl(i, F_GETFD) >= 0;
	return n;
}

/* Attached, and with a command that is not answered: nothing more is wanted from it. */
static int blocked_client(void)
{
	char buf[512];
	int s = dial();

	say(s, PROXY_ATTACH_VM, "{\"containerId\":\"c1\"}");
	until_answer(s);
	cr_assert(read(s, buf, sizeof(buf)) > 0);
	say(s, PROXY_HYPER, "{\"hyperName\":\"ping\"}");
	say(s, PROXY_HYPER, "{\"hyperName\":\"ping\"}");
	while (hypers == 0)
		cr_assert_eq(loop_step(l, true), 0);
	settle();
	cr_assert_eq(hypers, 1);
	return s;
}

Test(clients, flood_behind_an_unanswered_command_waits_in_the_socket)
{
	uint8_t frame[256];
	size_t n = put_frame(frame, PROXY_HYPER, "{\"hyperName\":\"ping\"}"), sent = 0;
	unsigned total = 2;
	int s = blocked_client();
	bool full = false;

	while (sent < (8u << 20) && !full) {
		ssize_t rc = send(s, frame, n, 0);

		if (rc > 0) {
			cr_assert_eq(rc, (ssize_t)n);
			sent += n;
			total++;
			continue;
		}
		settle();
		full = send(s, frame, n, 0) < 0;
		total += full ? 0 : 1;
	}
	cr_expect(full, "%zu bytes were taken from a client that has to wait", sent);
	/* And all of them are heard once the answers come. */
	while (hypers < total) {
		unsigned before = hypers;
		char buf[4096];

		proxy_reply(clients_proxy(cl), last, "", 0);
		while (hypers == before)
			cr_assert_eq(loop_step(l, true), 0);
		while (read(s, buf, sizeof(buf)) > 0)
			;
		if (!full)
			break;
	}
	(void)close(s);
}

Test(clients, hang_up_of_a_client_that_is_not_read_from)
{
	unsigned before = fds_open();
	int s = blocked_client();

	(void)close(s);
	for (int i = 0; i < 100 && fds_open() > before; i++)
		settle();
	cr_expect_eq(fds_open(), before);
}

Test(clients, connection_at_the_very_end)
{
	int a = dial(), b = dial();

	cr_assert_eq(loop_step(l, true), 0);
	/* clients_free() must come back, though the second is accepted while it stops accepting. */
	clients_free(cl);
	cl = NULL;
	(void)close(a);
	(void)close(b);
}

Test(clients, no_descriptors_left)
{
	struct rlimit old, none;
	uint64_t until;
	unsigned rounds = 0;
	int s;

	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
	s = dial();
	none = (struct rlimit){.rlim_cur = 3, .rlim_max = old.rlim_max};
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	for (until = clock_ns() + 300 * NS_PER_MS; clock_ns() < until; rounds++)
		cr_assert_eq(loop_step(l, true), 0);
	cr_expect_lt(rounds, 20, "%u rounds in 300 ms: it spins", rounds);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
	say(s, PROXY_HUSK, "{}");
	until_answer(s);
	(void)close(s);
}

Test(clients, descriptors_that_nobody_asked_for)
{
	unsigned before = fds_open();
	int s = dial();
	uint8_t frame[64];
	size_t n = put_frame(frame, PROXY_HUSK, "{}");
	int fds[FD_PASS_MAX];

	for (unsigned i = 0; i < FD_PASS_MAX; i++)
		fds[i] = dir_fd;
	for (int i = 0; i < 4; i++) {
		char buf[64];

		cr_assert_eq(fd_send(s, frame, n, fds, FD_PASS_MAX), (ssize_t)n);
		until_answer(s);
		cr_assert(read(s, buf, sizeof(buf)) > 0);
	}
	/* The two ends of the connection, and what one command may have. */
	cr_expect_eq(fds_open(), before + 2 + FD_PASS_MAX);
	(void)close(s);
	for (int i = 0; i < 100 && fds_open() > before; i++)
		settle();
	cr_expect_eq(fds_open(), before, "they outlive their connection");
	cr_expect_eq(goners, 1);
}

Test(clients, descriptors_of_a_command)
{
	unsigned before = fds_open();
	int s = dial(), pair[2], fds[3];
	uint8_t frame[64];
	size_t n = put_frame(frame, PROXY_HUSK, "{}");
	char buf[64];

	cr_assert_eq(pipe2(pair, O_CLOEXEC), 0);
	for (int i = 0; i < 3; i++)
		fds[i] = pair[1];
	want_fds = 2;
	/* They come with the first bytes of a command that is not whole yet. */
	cr_assert_eq(fd_send(s, frame, n - 1, fds, 3), (ssize_t)n - 1);
	settle();
	cr_expect_eq(got_fds, 0);
	cr_assert_eq(send(s, frame + n - 1, 1, 0), 1);
	until_answer(s);
	cr_assert(read(s, buf, sizeof(buf)) > 0);
	cr_assert_eq(got_fds, 2);
	(void)close(pair[1]);
	cr_expect_eq(write(taken[0], "x", 1), 1);
	cr_expect(fcntl(taken[1], F_GETFD) & FD_CLOEXEC);
	(void)close(taken[0]);
	(void)close(taken[1]);
	/* The third one was nobody's. */
	cr_expect_eq(read(pair[0], buf, sizeof(buf)), 1);
	cr_expect_eq(read(pair[0], buf, sizeof(buf)), 0);
	(void)close(pair[0]);
	/* The next command has none of them. */
	say(s, PROXY_HUSK, "{}");
	until_answer(s);
	cr_expect_eq(got_fds, 0);
	(void)close(s);
	for (int i = 0; i < 100 && fds_open() > before; i++)
		settle();
	cr_expect_eq(fds_open(), before);
}

Test(clients, half_frames_and_rubbish)
{
	unsigned before = fds_open();
	static const char rubbish[] = "GET / HTTP/1.0\r\n\r\n";
	uint8_t frame[64];
	size_t n = put_frame(frame, PROXY_HUSK, "{}");
	int a = dial(), b = dial();
	char buf[64];

	cr_assert_eq(send(a, rubbish, sizeof(rubbish) - 1, 0), (ssize_t)sizeof(rubbish) - 1);
	for (size_t i = 0; i < n; i++) {
		cr_assert_eq(send(b, frame + i, 1, 0), 1);
		settle();
	}
	until_answer(b);
	cr_expect_eq(read(b, buf, sizeof(buf)), (ssize_t)n);
	until_answer(a);
	cr_expect_eq(read(a, buf, sizeof(buf)), 0);
	cr_assert_eq(send(b, frame, n - 1, 0), (ssize_t)n - 1);
	settle();
	(void)close(a);
	(void)close(b);
	for (int i = 0; i < 100 && fds_open() > before; i++)
		settle();
	cr_expect_eq(fds_open(), before);
}
