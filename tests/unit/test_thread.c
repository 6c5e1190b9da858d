/* SPDX-License-Identifier: Apache-2.0 */
/* thread.c: what every thread of ours can rely on. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>

#include "base/thread.h"

static void *look(void *arg)
{
	size_t *stack = arg;
	pthread_attr_t attr;
	sigset_t set;

	*stack = 0;
	(void)pthread_sigmask(SIG_BLOCK, NULL, &set);
	if (!sigismember(&set, SIGTERM) || !sigismember(&set, SIGCHLD))
		return NULL;
	if (pthread_getattr_np(pthread_self(), &attr) == 0)
		(void)pthread_attr_getstacksize(&attr, stack);
	(void)pthread_attr_destroy(&attr);
	return NULL;
}

Test(thread, small_stack_and_no_signals)
{
	pthread_t t;
	size_t stack = 0;
	sigset_t set;

	cr_assert_eq(thread_start(&t, THREAD_STACK, look, &stack), 0);
	cr_assert_eq(pthread_join(t, NULL), 0);
	cr_assert_geq(stack, (size_t)THREAD_STACK);
	cr_assert_lt(stack, (size_t)1 << 20, "a huge page must not fit");
	(void)pthread_sigmask(SIG_BLOCK, NULL, &set);
	cr_assert_not(sigismember(&set, SIGTERM), "the caller's mask is back");
}
