/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking a fuzzer's input apart. Past its end everything is zero, so every input is a whole
 * program.
 */
#ifndef HUSK_TESTS_FUZZ_INPUT_H
#define HUSK_TESTS_FUZZ_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct fuzz_in {
	const uint8_t *p;
	size_t left;
};

static inline void fz_bytes(struct fuzz_in *in, void *dst, size_t len)
{
	size_t n = len < in->left ? len : in->left;

	memset(dst, 0, len);
	memcpy(dst, in->p, n);
	in->p += n;
	in->left -= n;
}
static inline uint8_t fz_u8(struct fuzz_in *in)
{
	uint8_t v;

	fz_bytes(in, &v, sizeof(v));
	return v;
}
static inline uint16_t fz_u16(struct fuzz_in *in)
{
	uint16_t v;

	fz_bytes(in, &v, sizeof(v));
	return v;
}
static inline uint32_t fz_u32(struct fuzz_in *in)
{
	uint32_t v;

	fz_bytes(in, &v, sizeof(v));
	return v;
}
static inline uint64_t fz_u64(struct fuzz_in *in)
{
	uint64_t v;

	fz_bytes(in, &v, sizeof(v));
	return v;
}

#endif
