/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's figures and limits: parsers of the kernel's files, changes that happen whole or not. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/child.h"
#include "agent/ps.h"
#include "agent/stats.h"
#include "base/fd.h"

static void expect(struct json_object *o, const char *want)
{
	cr_expect_str_eq(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN), want);
	json_object_put(o);
}

static struct json_object *flat(const char *text)
{
	struct json_object *o = json_object_new_object();

	stats_flat(text, o);
	return o;
}

Test(stats, flat)
{
	expect(flat("usage_usec 12\nnr_periods 0\n"), "{\"usage_usec\":12,\"nr_periods\":0}");
	expect(flat("max 18446744073709551615\n"), "{\"max\":18446744073709551615}");
	expect(flat(""), "{}");
	/* What is not a key and one number is left out, and takes nothing else with it. */
	expect(flat("a\n b 1\nc  2\nd -3\ne 4x\nf 18446744073709551616\ng 5 6\nh 7"), "{\"h\":7}");
	expect(flat("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx 1\nk 2\n"),
	       "{\"k\":2}");
}

Test(stats, value)
{
	const char *text = "low 0\noom 3\noom_kill 7\noom_group_kill 9";

	cr_expect_eq(stats_value(text, "oom_kill"), 7);
	cr_expect_eq(stats_value(text, "oom"), 3);
	cr_expect_eq(stats_value(text, "oom_group_kill"), 9);
	cr_expect_eq(stats_value(text, "kill"), 0);
	cr_expect_eq(stats_value("oom_kill", "oom_kill"), 0);
	cr_expect_eq(stats_value("oom_kill -1", "oom_kill"), 0);
}

Test(stats, number)
{
	static const char *const none[] = {"max\n", "", "-1", "5x", " 5", "18446744073709551616"};
	struct json_object *o = json_object_new_object();

	for (size_t i = 0; i < ARRAY_LEN(none); i++)
		stats_number(none[i], "x", o);
	stats_number("0\n", "zero", o);
	stats_number("123", "n", o);
	expect(o, "{\"zero\":0,\"n\":123}");
}

Test(stats, io)
{
	struct json_object *a = json_object_new_array();

	stats_io("8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n"
		 "253:1\nx:1 rbytes=1\n9:y rbytes=1\n8: rbytes=1\n\n"
		 "254:3 rbytes=x =5 wios=7 junk",
		 a);
	expect(a, "[{\"major\":8,\"minor\":0,\"rbytes\":10,\"wbytes\":20,\"rios\":1,\"wios\":2,"
		  "\"dbytes\":0,\"dios\":0},{\"major\":254,\"minor\":3,\"wios\":7}]");
}

Test(stats, net)
{
	struct json_object *a = json_object_new_array();

	stats_net("Inter-|   Receive                            |  Transmit\n"
		  " face |bytes    packets errs drop fifo frame compressed multicast|bytes ...\n"
		  "    lo: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n"
		  " short: 1 2 3\n"
		  "e\xff\"0:10 20 30 40 0 0 0 0 50 60 70 80 0 0 0 0\n"
		  ": 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n",
		  a);
	expect(a,
	       "[{\"name\":\"lo\",\"rx_bytes\":1,\"rx_packets\":2,\"rx_errors\":3,\"rx_dropped\":4,"
	       "\"tx_bytes\":5,\"tx_packets\":6,\"tx_errors\":7,\"tx_dropped\":8},"
	       "{\"name\":\"e?\\\"0\",\"rx_bytes\":10,\"rx_packets\":20,\"rx_errors\":30,"
	       "\"rx_dropped\":40,\"tx_bytes\":50,\"tx_packets\":60,\"tx_errors\":70,\"tx_"
	       "dropped\":80}]");
}

Test(ps, stat)
{
	struct ps_stat st = {0};

	/* The name has all that could mislead. */
	cr_assert_eq(
	    ps_parse_stat("12 (a) R 9 9 9) (b) S 1 12 12 34816 12 4194304 100 0 0 0 7 5 0 0 "
			  "20 -3 2 0 12345 8192000 300 18446744073709551615 1 1",
			  &st),
	    0);
	cr_expect_eq(st.state, 'S');
	cr_expect_eq(st.tty, 34816);
	cr_expect_eq(st.utime, 7);
	cr_expect_eq(st.stime, 5);
	cr_expect_eq(st.nice, -3);
	cr_expect_eq(st.threads, 2);
	cr_expect_eq(st.start, 12345);
	cr_expect_eq(st.vsize, 8192000);
	cr_expect_eq(st.rss, 300);
	cr_expect_lt(ps_parse_stat("", &st), 0);
	cr_expect_lt(ps_parse_stat("1 (x", &st), 0);
	cr_expect_lt(ps_parse_stat("1 (x) S 1 2 3", &st), 0);
}

/* ---- limits ------------------------------------------------------------------------------------ */

static char tmp[] = "/tmp/agent-ops-XXXXXX";
static int dir = -1;
static struct err e;

static void make(const char *name, const char *text)
{
	cr_assert_eq(fd_write_file(dir, name, text, strlen(text), 0600), 0);
}

static const char *content(const char *name)
{
	static char buf[256];
	auto_free char *text = NULL;

	cr_assert_eq(fd_read_file(dir, name, sizeof(buf), &text, NULL), 0);
	(void)snprintf(buf, sizeof(buf), "%s", text);
	return buf;
}

static void begin(void)
{
	cr_assert_not_null(mkdtemp(tmp));
	dir = open(tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(dir, 0);
	make("a.max", "111");
	make("b.max", "222");
}

static void end(void)
{
	static const char *const names[] = {"a.max", "b.max", "c.max"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		(void)unlinkat(dir, names[i], 0);
	(void)rmdir(tmp);
	fd_close(&dir);
}

static int apply(const char *const *pairs)
{
	struct spec s = {0};
	int rc = 0;

	e = (struct err){0};
	for (; *pairs; pairs += 2)
		cr_assert_eq(gspec_writes_add(&s.cgroup, pairs[0], "%s", pairs[1]), 0);
	rc = cgrp_apply(dir, &s.cgroup, &e);
	gspec_free(&s);
	return rc;
}

Test(apply, all, .init = begin, .fini = end)
{
	cr_expect_eq(apply((const char *[]){"a.max", "333", "b.max", "444", NULL}), 0, "%s", e.msg);
	cr_expect_str_eq(content("a.max"), "333");
	cr_expect_str_eq(content("b.max"), "444");
}

/* A file that can be read and not written. */
Test(apply, or_none, .init = begin, .fini = end)
{
	cr_assert_eq(symlinkat("/proc/version", dir, "c.max"), 0);
	cr_expect_lt(apply((const char *[]){"a.max", "333", "b.max", "444", "c.max", "1", NULL}),
		     0);
	cr_expect(strstr(e.msg, "c.max"), "%s", e.msg);
	cr_expect_str_eq(content("a.max"), "111");
	cr_expect_str_eq(content("b.max"), "222");
}

Test(apply, names_what_is_not_there, .init = begin, .fini = end)
{
	cr_expect_eq(apply((const char *[]){"a.max", "333", "none.max", "1", NULL}), -ENOENT);
	cr_expect(strstr(e.msg, "none.max"), "%s", e.msg);
	cr_expect_str_eq(content("a.max"), "111");
	/* Swap that is not there needs no limit. */
	cr_expect_eq(apply((const char *[]){"a.max", "333", "memory.swap.max", "1", NULL}), 0);
	cr_expect_str_eq(content("a.max"), "333");
}
