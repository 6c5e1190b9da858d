/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attributes and the few macros that a function cannot replace. Header only, no state.
 */
#ifndef HUSK_BASE_COMPILER_H
#define HUSK_BASE_COMPILER_H

#include <stddef.h>
#include <stdint.h>

#define ARRAY_LEN(a)			(sizeof(a) / sizeof((a)[0]))
#define PRINTF_LIKE(f, a)		__attribute__((format(printf, f, a)))
#define MUST_CHECK			__attribute__((warn_unused_result))
#define MAYBE_UNUSED			__attribute__((unused))
#define NORETURN			__attribute__((noreturn))
#define CLEANUP(fn)			__attribute__((cleanup(fn)))
#define FALLTHROUGH			__attribute__((fallthrough))

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define MIN(a, b)			((a) < (b) ? (a) : (b))
#define MAX(a, b)			((a) > (b) ? (a) : (b))

/* Rounds @v up to a multiple of @a, a power of two. */
#define ALIGN_UP(v, a)	 (((v) + ((a)-1)) & ~((__typeof__(v))(a)-1))
#define ALIGN_DOWN(v, a) ((v) & ~((__typeof__(v))(a)-1))

/*
 * A broken invariant of our own code: prints where and aborts. Never reachable from what a guest, an
 * image, a frame or a file says; those are errors that are returned. Always compiled in; @cond has no
 * side effects.
 */
#define BUG_ON(cond)                                                                               \
	do {                                                                                       \
		if (__builtin_expect(!!(cond), 0))                                                 \
			husk_bug(__FILE__, __LINE__, #cond);                                       \
	} while (0)

void husk_bug(const char *file, int line, const char *what) NORETURN;

#endif
