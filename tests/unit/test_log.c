/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.c: both formats, levels, escaping, the limit on what a guest can cause.
 */
#include <criterion/criterion.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

static int fd;
static char *text;

static void begin(bool json, enum log_level lvl)
{
	struct log_config c = {.program = "husk", .json = json, .level = lvl, .stderr_level = -1};

	fd = memfd_create("log", MFD_CLOEXEC);
	c.file_fd = fd;
	log_setup(&c);
}

/* All that was logged. */
static const char *logged(void)
{
	free(text);
	text = NULL;
	cr_assert_eq(lseek(fd, 0, SEEK_SET), 0);
	cr_assert_eq(fd_read_all(fd, 0, &text, NULL), 0);
	return text;
}

static unsigned lines(const char *s)
{
	unsigned n = 0;

	for (; *s; s++)
		n += *s == '\n';
	return n;
}

Test(log, text)
{
	int y, n = 0;

	begin(false, LOG_LVL_WARN);
	log_err("disk '%s': gone", "a");
	log_info("not this");
	cr_assert_eq(
	    sscanf(logged(), "time=\"%d-%*d-%*dT%*d:%*d:%*d.%*dZ\" level=error %n", &y, &n), 1);
	cr_assert_geq(y, 2024);
	cr_assert_str_eq(text + n, "msg=\"disk 'a': gone\"\n");
}

static void check_json(const char *want)
{
	struct json_object *o = json_tokener_parse(logged());

	cr_assert_not_null(o, "not JSON: %s", text);
	cr_assert_str_eq(json_object_get_string(json_object_object_get(o, "msg")), want);
	cr_assert_str_eq(json_object_get_string(json_object_object_get(o, "level")), "warning");
	cr_assert_not_null(json_object_object_get(o, "time"));
	cr_assert_eq(lines(text), 1);
	cr_assert_eq(text[strlen(text) - 1], '\n');
	json_object_put(o);
}

Test(log, json)
{
	char odd[140];
	size_t n = 0;

	for (int c = 1; c < 128; c++)
		odd[n++] = (char)c;
	odd[n] = '\0';
	begin(true, LOG_LVL_WARN);
	log_warn("%s", odd);
	check_json(odd);
}

/* Engines parse this file: bytes that are no UTF-8 may come from a guest, and must not break a
 * line. */
Test(log, json_is_utf8_whatever_comes)
{
	begin(true, LOG_LVL_WARN);
	log_warn("gr\xc3\xbc\xc3\x9f"
		 "e \xff\xfe \xc3( \xe2\x82");
	check_json("gr\xc3\xbc\xc3\x9f"
		   "e \xef\xbf\xbd\xef\xbf\xbd \xef\xbf\xbd( \xef\xbf\xbd\xef\xbf\xbd");
}

Test(log, long_lines_stay_lines)
{
	char big[8000];

	memset(big, 1, sizeof(big));
	big[sizeof(big) - 1] = '\0';
	begin(true, LOG_LVL_WARN);
	log_warn("%s", big);
	struct json_object *o = json_tokener_parse(logged());

	cr_assert_not_null(o, "cut in the middle of something: %s", text);
	cr_assert_eq(lines(text), 1);
	json_object_put(o);
}

Test(log, stderr_has_its_own_level_and_no_line_breaks)
{
	struct log_config c = {
	    .program = "husk", .file_fd = -1, .level = LOG_LVL_DEBUG, .stderr_level = LOG_LVL_WARN};
	int p[2], keep = dup(2);
	char buf[512] = "";

	cr_assert_eq(pipe(p), 0);
	cr_assert_geq(dup2(p[1], 2), 0);
	log_setup(&c);
	log_err("one\x1b[2J\ntwo");
	log_warn("three");
	log_info("four");
	cr_assert_geq(dup2(keep, 2), 0);
	(void)close(p[1]);
	cr_assert_gt(fd_read_full(p[0], buf, sizeof(buf) - 1), 0);
	cr_assert_eq(lines(buf), 2);
	cr_assert_null(strchr(buf, '\x1b'), "escape sequences stay away from terminals");
	cr_assert_eq(strncmp(buf, "husk: one", 9), 0);
	cr_assert_not_null(strstr(buf, "\nhusk: warning: three\n"));
}

Test(log, what_a_guest_causes_is_limited)
{
	struct log_limit lim = {0};

	begin(false, LOG_LVL_WARN);
	for (unsigned i = 0; i < 1000; i++)
		log_limited(&lim, LOG_LVL_WARN, "fault %u", i);
	cr_assert_eq(lines(logged()), LOG_LIMIT_BURST);
	cr_assert_eq(lim.dropped, 1000 - LOG_LIMIT_BURST);
	/* Half a second later one more goes, with the count of what was swallowed. */
	lim.last_ns -= LOG_LIMIT_REFILL_NS;
	log_limited(&lim, LOG_LVL_WARN, "late");
	log_limited(&lim, LOG_LVL_WARN, "too soon");
	cr_assert_eq(lines(logged()), LOG_LIMIT_BURST + 1);
	cr_assert_not_null(strstr(text, "late (990 more suppressed)"));
}
