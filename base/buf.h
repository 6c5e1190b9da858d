/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A byte queue that grows: appended at the end, consumed at the front. Zero-initialised is empty.
 * Whoever feeds it from an untrusted source bounds it.
 */
#ifndef HUSK_BASE_BUF_H
#define HUSK_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>
#include "base/compiler.h"

struct buf {
	uint8_t *data; /* first unconsumed byte */
	size_t len;    /* unconsumed bytes */
	uint8_t *base;
	size_t cap; /* of the allocation at base */
};

void buf_free(struct buf *b);
/* Empties it; gives memory back when it has grown large. */
void buf_reset(struct buf *b);
/* Room for @n more bytes at the end, already counted as content; NULL when out of memory. */
void *buf_extend(struct buf *b, size_t n);
int buf_append(struct buf *b, const void *p, size_t n) MUST_CHECK; /* 0 or -ENOMEM */
const void *buf_peek(const struct buf *b, size_t *len);
void buf_consume(struct buf *b, size_t n); /* n <= len */

#endif
