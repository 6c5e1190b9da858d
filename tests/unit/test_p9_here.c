/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 9p server's shortcuts and snapshots: what the loop answers without a worker, and what it does not;
 * when a share can be saved.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/p9_client.h"

static struct p9c *c;

static void setup_session(void)
{
	int fd;

	p9t_begin();
	cr_assert(!mkdir(p9t_at("root"), 0755) && !mkdir(p9t_at("root/d"), 0755));
	fd = open(p9t_at("root/f"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	cr_assert_eq(write(fd, "inside", 6), 6);
	(void)close(fd);
	c = p9c_new(p9t_at("root"), false, true);
}

static void teardown(void)
{
	p9c_free(c);
	p9t_end();
}

TestSuite(p9_here, .init = setup_session, .fini = teardown, .timeout = 60);

/* ---- what the loop answers itself ------------------------------------------------------------------- */
static const struct p9 *server(void)
{
	return container_of(c->dev, struct p9, dev);
}

static bool here(int want, int got)
{
	static uint64_t was;
	bool more = server()->here > was;

	was = server()->here;
	cr_assert_eq(got, want);
	return more;
}

Test(p9_here, cached_names_take_no_worker)
{
	if (!server()->local)
		cr_skip_test("/tmp is on a file system that may ask others");
	/* Whether the kernel has them cached is its affair: by the second time it has. */
	(void)p9c_walk(c, 0, 1, "d");
	(void)p9c_clunk(c, 1);
	(void)p9c_walk(c, 0, 1, "none");
	(void)here(0, 0);
	cr_assert(here(0, p9c_walk(c, 0, 1, "d")));
	p9c_u32(c, 1);
	p9c_u64(c, 0x7ff);
	cr_assert(here(0, p9c_call(c, P9_TGETATTR)));
	cr_assert(here(0, p9c_clunk(c, 1)));
	cr_assert(here(-ENOENT, p9c_walk(c, 0, 1, "none")));
	cr_assert(here(0, p9c_walk(c, 0, 2, "f")));
	/* The same rules as everywhere: names, numbers in use, ends of messages. */
	cr_assert_eq(p9c_walk(c, 0, 2, "d"), -EBADF);
	cr_assert_lt(p9c_walk(c, 0, 3, "."), 0);
	p9c_u32(c, 2);
	p9c_u64(c, 0x7ff);
	p9c_u8(c, 0);
	cr_assert_eq(p9c_call(c, P9_TGETATTR), -EPROTO);
}

/* What may wait or needs rights goes to a worker: parents, files without a name, attributes to be set. */
Test(p9_here, the_rest_does)
{
	uint64_t was;

	cr_assert_eq(p9c_walk(c, 0, 1, "d"), 0);
	was = server()->by_worker;
	cr_assert_eq(p9c_walk(c, 1, 2, ".."), 0);
	cr_assert_gt(server()->by_worker, was);
	cr_assert_eq(p9c_walk(c, 0, 3, "f"), 0);
	cr_assert_eq(p9c_open(c, 3, O_RDWR), 0);
	cr_assert_eq(unlink(p9t_at("root/f")), 0);
	was = server()->by_worker;
	cr_assert_eq(p9c_clunk(c, 3), 0);
	cr_assert_gt(server()->by_worker, was, "the last hold on a file");
	was = server()->by_worker;
	cr_assert_eq(p9c_clunk(c, 99), -EBADF);
	cr_assert_gt(server()->by_worker, was);
	cr_assert_eq(p9c_walk(c, 0, 4, "d"), 0);
	p9c_u32(c, 4);
	p9c_str(c, "user.x");
	p9c_u64(c, 1);
	p9c_u32(c, 0);
	cr_assert_eq(p9c_call(c, P9_TXATTRCREATE), 0);
	was = server()->by_worker;
	(void)p9c_clunk(c, 4);
	cr_assert_gt(server()->by_worker, was, "it sets the attribute");
}
