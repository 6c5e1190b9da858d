/* SPDX-License-Identifier: Apache-2.0 */
/* A program run to its end: status, words, input, deadline, and what it leaves behind. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/program.h"

static int run(const char *script, uint64_t timeout_ns, struct err *e)
{
	char *argv[] = {(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c",
			(char *)(uintptr_t)script, NULL};
	struct program p = {
	    .what = "hook x",
	    .path = "/bin/sh",
	    .argv = argv,
	    .input = "the state",
	    .input_len = 9,
	    .timeout_ns = timeout_ns,
	};

	return program_run(&p, e);
}

Test(program, status_and_words)
{
	struct err e = {0};

	cr_expect(eq(int, run("exit 0", 0, &e), 0), "%s", e.msg);
	cr_expect(eq(int, run("[ \"$(cat)\" = 'the state' ]", 0, &e), 0), "%s", e.msg);
	cr_expect(eq(int, run("echo one; echo two >&2; exit 3", 0, &e), -ECANCELED));
	cr_expect_str_eq(e.msg, "hook x: exit status 3: one two");
	e = (struct err){0};
	cr_expect(eq(int, run("kill -9 $$", 0, &e), -ECANCELED));
	cr_expect_str_eq(e.msg, "hook x: ended by signal 9");
}

Test(program, deadline)
{
	uint64_t began = clock_ns();
	struct err e = {0};

	cr_expect(eq(int, run("exec sleep 100", NS_PER_SEC / 10, &e), -ECANCELED));
	cr_expect_str_eq(e.msg, "hook x: took longer than its timeout");
	cr_expect(lt(u64, clock_ns() - began, 50 * NS_PER_SEC));
}

/* A child that goes on holds our pipe open: nobody waits for it. */
Test(program, what_it_leaves_running)
{
	uint64_t began = clock_ns();
	struct err e = {0};

	cr_expect(eq(int, run("sleep 3 & exit 0", 0, &e), 0), "%s", e.msg);
	cr_expect(lt(u64, clock_ns() - began, 2 * NS_PER_SEC));
}

static int refuse(void *arg, struct err *e)
{
	return err_set(e, -EPERM, "not %s", (const char *)arg);
}

Test(program, preparation_may_fail)
{
	char *argv[] = {(char *)(uintptr_t) "true", NULL};
	struct program p = {.what = "w",
			    .path = "/bin/true",
			    .argv = argv,
			    .prepare = refuse,
			    .arg = (void *)(uintptr_t) "now"};
	struct err e = {0};

	cr_expect(eq(int, program_run(&p, &e), -ECANCELED));
	cr_expect_str_eq(e.msg, "w: exit status 126: not now");
	p.prepare = NULL;
	p.path = "/no/such";
	e = (struct err){0};
	cr_expect(eq(int, program_run(&p, &e), -ECANCELED));
	cr_expect_str_eq(e.msg, "w: exit status 127: /no/such: No such file or directory");
}
