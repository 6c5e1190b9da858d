/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf.c: what goes in comes out, in order, and memory is bounded by what is in it.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

Test(buf, empty)
{
	struct buf b = {0};
	size_t len = 1;

	cr_assert_eq(buf_append(&b, NULL, 0), 0);
	(void)buf_peek(&b, &len);
	cr_assert_eq(len, 0);
	buf_consume(&b, 0);
	buf_reset(&b);
	buf_free(&b);
}

Test(buf, fifo_in_odd_steps)
{
	struct buf b = {0};
	size_t in = 0, out = 0, len;
	uint8_t tmp[977];

	for (unsigned round = 0; round < 3000; round++) {
		size_t n = (round * 131) % sizeof(tmp), take;
		const uint8_t *p;

		for (size_t i = 0; i < n; i++)
			tmp[i] = (uint8_t)((in + i) * 31 + (in + i) / 256);
		cr_assert_eq(buf_append(&b, tmp, n), 0);
		in += n;
		p = buf_peek(&b, &len);
		cr_assert_eq(len, in - out);
		take = (round * 89) % (len + 1);
		for (size_t i = 0; i < take; i++)
			cr_assert_eq(p[i], (uint8_t)((out + i) * 31 + (out + i) / 256));
		buf_consume(&b, take);
		out += take;
	}
	buf_free(&b);
}

Test(buf, too_large_is_refused)
{
	struct buf b = {0};

	cr_assert_eq(buf_append(&b, "abc", 3), 0);
	cr_assert_null(buf_extend(&b, SIZE_MAX));
	cr_assert_null(buf_extend(&b, SIZE_MAX - 3));
	cr_assert_null(buf_extend(&b, SIZE_MAX / 2 + 1));
	cr_assert_eq(b.len, 3);
	cr_assert_arr_eq(b.data, "abc", 3);
	buf_free(&b);
}

Test(buf, gives_memory_back)
{
	struct buf b = {0};

	cr_assert_not_null(buf_extend(&b, 1 << 20));
	buf_consume(&b, 1 << 20);
	cr_assert_eq(b.cap, 0);
	cr_assert_not_null(buf_extend(&b, 100));
	buf_consume(&b, 100);
	cr_assert_gt(b.cap, 0, "a small one is kept");
	buf_free(&b);
}

/* A queue that stays full: its content is not moved for each append, and it does not grow. */
Test(buf, full_queue_moves_seldom)
{
	struct buf b = {0};
	uint8_t piece[100] = {0};
	unsigned moves = 0;
	uint8_t *last;

	cr_assert_not_null(buf_extend(&b, 100000));
	last = b.data;
	for (unsigned i = 0; i < 100000; i++) {
		buf_consume(&b, sizeof(piece));
		cr_assert_eq(buf_append(&b, piece, sizeof(piece)), 0);
		moves += b.data != last + sizeof(piece);
		last = b.data;
	}
	cr_assert_lt(moves, 200, "moved %u times", moves);
	cr_assert_lt(b.cap, 500000);
	buf_free(&b);
}

Test(buf, consuming_too_much_is_a_bug, .signal = SIGABRT)
{
	struct buf b = {0};

	cr_assert_eq(buf_append(&b, "abc", 3), 0);
	buf_consume(&b, 4);
}
