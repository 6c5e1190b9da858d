/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel refuses the loop's ring. The loop itself cannot submit such things, so this test is
 * made of its source.
 */
#include <criterion/criterion.h>
#include <fcntl.h>

#include "base/loop.c"

static int result;

static void note(struct loop_op *op, int res, unsigned flags)
{
	(void)op;
	(void)flags;
	result = res;
}

static int submitted(struct loop *l, struct loop_op *op)
{
	result = 1;
	while (op->busy)
		cr_assert_eq(loop_step(l, true), 0);
	return result;
}

Test(loop_ring, only_its_own_operations)
{
	struct loop_op op = {.done = note, .what = "test"};
	struct err e = {0};
	struct loop *l;

	cr_assert_eq(loop_new(&l, 8, &e), 0, "%s", e.msg);
	SUBMIT(l, &op, io_uring_prep_openat, AT_FDCWD, "/", O_PATH, 0);
	cr_expect_eq(submitted(l, &op), -EACCES, "openat: %d", result);
	SUBMIT(l, &op, io_uring_prep_socket, AF_UNIX, SOCK_STREAM, 0, 0);
	cr_expect_eq(submitted(l, &op), -EACCES, "socket: %d", result);
	SUBMIT(l, &op, io_uring_prep_connect, 0, NULL, 0);
	cr_expect_eq(submitted(l, &op), -EACCES, "connect: %d", result);
	SUBMIT(l, &op, io_uring_prep_unlinkat, AT_FDCWD, "/nowhere", 0);
	cr_expect_eq(submitted(l, &op), -EACCES, "unlinkat: %d", result);
	/* An operation of its own still works. */
	SUBMIT(l, &op, io_uring_prep_poll_add, l->wake_fd, POLLOUT);
	cr_expect_eq(submitted(l, &op), POLLOUT, "poll: %d", result);
	loop_free(l);
}

Test(loop_ring, nothing_can_be_registered_later)
{
	struct err e = {0};
	struct loop *l;
	int fd = 0;

	cr_assert_eq(loop_new(&l, 8, &e), 0, "%s", e.msg);
	cr_expect_eq(ring_register(&l->ring, IORING_REGISTER_FILES, &fd, 1), -EACCES);
	cr_expect_eq(ring_register(&l->ring, IORING_REGISTER_PERSONALITY, NULL, 0), -EACCES);
	/* Nor can the restrictions be replaced: the ring is enabled. */
	cr_expect_lt(ring_restrict(&l->ring), 0);
	loop_free(l);
}
