/* SPDX-License-Identifier: Apache-2.0 */
/*
 * As much of criterion as the tests with threads use, for the thread sanitizer, below which criterion itself
 * does not start. Each test is a process; see main.c.
 */
#ifndef HUSK_TESTS_TSAN_CRITERION_H
#define HUSK_TESTS_TSAN_CRITERION_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tsan_opts {
	void (*init)(void);
	void (*fini)(void);
	double timeout; /* seconds */
	int signal;
	bool disabled;
};
struct tsan_test {
	const char *suite, *name; /* without a name: the suite's own options */
	void (*fn)(void);
	struct tsan_opts opts;
	struct tsan_test *next;
};

void tsan_add(struct tsan_test *t);
void tsan_say(const char *file, int line, const char *what, const char *fmt, ...);
void tsan_fail(void) __attribute__((noreturn));
void tsan_skip(void) __attribute__((noreturn));

#define TSAN_ADD(id, ...)                                                                          \
	__attribute__((constructor)) static void id##_add(void)                                    \
	{                                                                                          \
		static struct tsan_test t = {__VA_ARGS__};                                         \
		tsan_add(&t);                                                                      \
	}
#define TestSuite(s, ...)                                                                          \
	TSAN_ADD(s##_suite, .suite = #s, .opts = {__VA_ARGS__})                                    \
	struct tsan_test
#define Test(s, n, ...)                                                                            \
	static void s##_##n##_test(void);                                                          \
	TSAN_ADD(s##_##n, .suite = #s, .name = #n, .fn = s##_##n##_test, .opts = {__VA_ARGS__})    \
	static void s##_##n##_test(void)

#define TSAN_CHECK(cond, text, ...)                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			tsan_say(__FILE__, __LINE__, text, "" __VA_ARGS__);                        \
			tsan_fail();                                                               \
		}                                                                                  \
	} while (0)
#define cr_assert(c, ...)	    TSAN_CHECK(c, #c, __VA_ARGS__)
#define cr_assert_not(c, ...)	    TSAN_CHECK(!(c), "not " #c, __VA_ARGS__)
#define cr_assert_null(c, ...)	    TSAN_CHECK(!(c), "no " #c, __VA_ARGS__)
#define cr_assert_not_null(c, ...)  TSAN_CHECK((c) != NULL, #c, __VA_ARGS__)
#define cr_assert_eq(a, b, ...)	    TSAN_CHECK((a) == (b), #a " == " #b, __VA_ARGS__)
#define cr_assert_neq(a, b, ...)    TSAN_CHECK((a) != (b), #a " != " #b, __VA_ARGS__)
#define cr_assert_lt(a, b, ...)	    TSAN_CHECK((a) < (b), #a " < " #b, __VA_ARGS__)
#define cr_assert_leq(a, b, ...)    TSAN_CHECK((a) <= (b), #a " <= " #b, __VA_ARGS__)
#define cr_assert_gt(a, b, ...)	    TSAN_CHECK((a) > (b), #a " > " #b, __VA_ARGS__)
#define cr_assert_geq(a, b, ...)    TSAN_CHECK((a) >= (b), #a " >= " #b, __VA_ARGS__)
#define cr_assert_str_eq(a, b, ...) TSAN_CHECK(strcmp(a, b) == 0, #a " is " #b, __VA_ARGS__)
#define cr_assert_arr_eq(a, b, n, ...)                                                             \
	TSAN_CHECK(memcmp(a, b, n) == 0, #a " equals " #b, __VA_ARGS__)
#define cr_expect	  cr_assert
#define cr_expect_eq	  cr_assert_eq
#define cr_expect_not	  cr_assert_not
#define cr_expect_lt	  cr_assert_lt
#define cr_expect_leq	  cr_assert_leq
#define cr_expect_gt	  cr_assert_gt
#define cr_expect_geq	  cr_assert_geq
#define cr_expect_str_eq  cr_assert_str_eq
#define cr_expect_neq	  cr_assert_neq
#define cr_skip_test(...) tsan_skip()

#endif
