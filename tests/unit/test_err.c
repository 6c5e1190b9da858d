/* SPDX-License-Identifier: Apache-2.0 */
/*
 * err.c: the first error wins, context in front, nothing runs over.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "base/err.h"

Test(err, the_first_one_wins)
{
	struct err e = {0};

	cr_assert_eq(err_set(&e, -ENOENT, "kernel '%s': no such file", "x"), -ENOENT);
	cr_assert_eq(err_set(&e, -EIO, "later"), -EIO, "returns its own code all the same");
	cr_assert_eq(e.code, -ENOENT);
	cr_assert_str_eq(e.msg, "kernel 'x': no such file");
}

Test(err, sys_appends_the_reason)
{
	struct err e = {0};

	cr_assert_eq(err_sys(&e, -ENOENT, "opening '%s'", "x"), -ENOENT);
	cr_assert_str_eq(e.msg, "opening 'x': No such file or directory");
	cr_assert_eq(err_sys(&e, -EIO, "later"), -EIO);
	cr_assert_eq(e.code, -ENOENT);
}

Test(err, wrap_prefixes)
{
	struct err e = {0};

	(void)err_set(&e, -EINVAL, "bad number");
	cr_assert_eq(err_wrap(&e, "disk %d", 3), -EINVAL);
	cr_assert_str_eq(e.msg, "disk 3: bad number");
}

Test(err, nobody_has_to_listen)
{
	cr_assert_eq(err_set(NULL, -EIO, "x"), -EIO);
	cr_assert_eq(err_sys(NULL, -EIO, "x"), -EIO);
	cr_assert_eq(err_wrap(NULL, "x"), -EINVAL);
}

Test(err, long_ones_are_cut)
{
	struct err e = {0};
	char big[4096];

	memset(big, 'x', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	(void)err_sys(&e, -ENOENT, "%s", big);
	cr_assert_eq(strlen(e.msg), sizeof(e.msg) - 1);
	(void)err_wrap(&e, "%s", big);
	cr_assert_eq(strlen(e.msg), sizeof(e.msg) - 1);
}

Test(err, a_bug_aborts, .signal = SIGABRT)
{
	BUG_ON(errno != -1);
}
