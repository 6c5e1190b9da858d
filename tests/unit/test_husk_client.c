/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CLI's side of the sandbox's socket, where the other side says nothing: a process that is
 * stopped is told from one that takes its time, and from one that ends.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "mux/proxy.h"
#include "runtime/client.h"
#include "runtime/clients.h"

static char dir[] = "/tmp/husk-client.XXXXXX";
static int dir_fd, listener;
static struct err e;

static void setup(void)
{
	cr_assert_not_null(mkdtemp(dir));
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	listener = clients_listen(dir_fd, &e);
	cr_assert(listener >= 0, "%s", e.msg);
	client_limits.quiet_ms = 50;
	client_limits.ping_ms = 200;
}

static void teardown(void)
{
	fd_close(&listener);
	(void)unlinkat(dir_fd, "sock", 0);
	(void)rmdir(dir);
}

TestSuite(client, .init = setup, .fini = teardown, .timeout = 60);

static int ask(void)
{
	auto_json req = json_object_new_object();
	int status;

	json_add_str(req, "op", "ps");
	return client_call(dir_fd, req, &status, &e);
}

/* Its kernel still takes connections. */
Test(client, nobody_accepts)
{
	uint64_t begin = clock_ns();

	cr_expect_eq(ask(), -ETIMEDOUT);
	cr_expect(strstr(e.msg, "the sandbox process has not answered"), "%s", e.msg);
	cr_expect_geq(clock_ns() - begin, 250 * NS_PER_MS);
}

/* Until it takes no more of them. */
Test(client, not_even_the_kernel)
{
	int fds[200];
	unsigned n = 0;

	for (; n < 200; n++) {
		fds[n] = client_dial(dir_fd, &e);
		if (fds[n] < 0)
			break;
	}
	cr_assert_lt(n, 200);
	cr_expect_eq(fds[n], -ETIMEDOUT);
	cr_expect(strstr(e.msg, "the sandbox process has not answered"), "%s", e.msg);
	while (n--)
		(void)close(fds[n]);
}

static void read_command(int fd, char *buf, size_t len)
{
	uint8_t head[PROXY_HEADER_LEN];
	struct proxy_header h;

	if (fd_read_full(fd, head, sizeof(head)) != (ssize_t)sizeof(head) ||
	    proxy_get_header(head, sizeof(head), &h) != 1 || h.payload_len >= len ||
	    fd_read_full(fd, buf, h.payload_len) != (ssize_t)h.payload_len)
		abort();
	buf[h.payload_len] = '\0';
}

static const char *answer_text = "";

static void reply(int fd)
{
	uint8_t head[PROXY_HEADER_LEN];
	size_t len = strlen(answer_text);

	proxy_put_header(head, PROXY_RESPONSE, PROXY_HUSK, false, (uint32_t)len);
	if (fd_write_full(fd, head, sizeof(head)) < 0 || fd_write_full(fd, answer_text, len) < 0)
		abort();
}

/* Answers pings at once and the command itself after as many as *arg, or goes. */
static void *at_work(void *arg)
{
	int pings = *(int *)arg, first = accept(listener, NULL, NULL);
	char text[256];

	read_command(first, text, sizeof(text));
	for (int i = 0; i < abs(pings); i++) {
		int fd = accept(listener, NULL, NULL);

		read_command(fd, text, sizeof(text));
		if (!strstr(text, "\"ping\""))
			abort();
		reply(fd);
		(void)close(fd);
	}
	if (pings > 0)
		reply(first);
	(void)close(first);
	return NULL;
}

static int with_server(int pings)
{
	pthread_t t;
	int rc;

	cr_assert_eq(pthread_create(&t, NULL, at_work, &pings), 0);
	rc = ask();
	cr_assert_eq(pthread_join(t, NULL), 0);
	return rc;
}

Test(client, takes_its_time)
{
	cr_expect_eq(with_server(6), 0, "%s", e.msg);
}

Test(client, ends_meanwhile)
{
	cr_expect_eq(with_server(-2), -ECONNREFUSED);
	cr_expect_eq(e.code, 0, "%s", e.msg);
}

static void *refuse_one(void *arg)
{
	int fd = accept(listener, NULL, NULL);
	char text[256];

	(void)arg;
	read_command(fd, text, sizeof(text));
	reply(fd);
	(void)close(fd);
	return NULL;
}

/* With some refusals the sandbox process ends: who asked waits for that. */
Test(client, refusals_of_both_kinds)
{
	pthread_t t;
	int rc;

	client_limits.quiet_ms = 60000;
	answer_text = "{\"message\":\"no such file\",\"status\":127,\"ends\":true}";
	cr_assert_eq(pthread_create(&t, NULL, refuse_one, NULL), 0);
	rc = ask();
	cr_assert_eq(pthread_join(t, NULL), 0);
	cr_expect_eq(rc, -ESHUTDOWN);
	cr_expect_str_eq(e.msg, "no such file");
	e = (struct err){0};
	answer_text = "{\"message\":\"not now\",\"status\":1}";
	cr_assert_eq(pthread_create(&t, NULL, refuse_one, NULL), 0);
	rc = ask();
	cr_assert_eq(pthread_join(t, NULL), 0);
	cr_expect_eq(rc, -EREMOTEIO);
}
