/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KEEP_CAP (64u << 10) /* what an emptied buffer keeps */

void buf_free(struct buf *b)
{
	free(b->base);
	memset(b, 0, sizeof(*b));
}

void buf_reset(struct buf *b)
{
	if (b->cap > KEEP_CAP) {
		buf_free(b);
		return;
	}
	b->data = b->base;
	b->len = 0;
}

void *buf_extend(struct buf *b, size_t n)
{
	size_t head = b->base ? (size_t)(b->data - b->base) : 0, need, cap;
	uint8_t *p;

	if (__builtin_add_overflow(b->len, n, &need))
		return NULL;
	/* Moving pays when more has been consumed than is left: else each append might move it all.
	 */
	if (need > b->cap - head && head >= b->len && need <= b->cap) {
		memmove(b->base, b->data, b->len);
		b->data = b->base;
	} else if (need > b->cap - head) {
		cap = b->cap ? b->cap : 512;
		while (cap < need || (head && cap == b->cap))
			if (__builtin_mul_overflow(cap, (size_t)2, &cap))
				return NULL;
		p = malloc(cap);
		if (!p)
			return NULL;
		if (b->len)
			memcpy(p, b->data, b->len);
		free(b->base);
		b->base = b->data = p;
		b->cap = cap;
	}
	p = b->data + b->len;
	b->len = need;
	return p;
}

int buf_append(struct buf *b, const void *p, size_t n)
{
	void *to;

	if (n == 0)
		return 0;
	to = buf_extend(b, n);
	if (!to)
		return -ENOMEM;
	memcpy(to, p, n);
	return 0;
}

const void *buf_peek(const struct buf *b, size_t *len)
{
	*len = b->len;
	return b->data;
}

void buf_consume(struct buf *b, size_t n)
{
	BUG_ON(n > b->len);
	if (n == 0) /* there may be no memory yet */
		return;
	b->data += n;
	b->len -= n;
	if (b->len == 0)
		buf_reset(b);
}
