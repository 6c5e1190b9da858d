/* SPDX-License-Identifier: Apache-2.0 */
/* Which mounts below a tree are windows into the host's kernel, and lines of mountinfo. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/mountinfo.h"
#include "runtime/submounts.h"

static const char host[] = "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
			   "22 21 0:20 / /sys rw shared:7 - sysfs sysfs rw\n"
			   "23 21 0:21 / /proc rw shared:13 - proc proc rw\n"
			   "24 21 0:5 / /dev rw shared:2 - devtmpfs udev rw,size=1k\n"
			   "25 24 0:22 / /dev/pts rw shared:3 - devpts devpts rw\n"
			   "26 22 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
			   "27 23 0:24 / /proc/sys/fs/binfmt_misc rw - autofs systemd-1 rw\n"
			   "28 21 0:25 / /run rw - tmpfs tmpfs rw\n"
			   "29 28 0:4 net:[4026532000] /run/netns/a rw - nsfs nsfs rw\n"
			   "30 21 0:30 / /srv/a\\040b/proc rw - proc proc rw\n"
			   "31 21 0:21 /sys /srv/part rw - proc proc rw\n"
			   "32 21 8:2 / /home rw - xfs /dev/sda2 rw\n"
			   "33 21 0:21 / /proc rw - proc proc rw\n"
			   "not a line\n"
			   "34 21 0:21 / /process rw - ext4 /dev/sda3 rw\n";

/* As "path=guest path=- …", in the order found. */
static const char *found(const char *text, const char *base)
{
	static char buf[1024];
	struct submounts s;

	buf[0] = '\0';
	cr_assert_eq(submounts_parse(&s, text, base), 0);
	for (size_t i = 0; i < s.cnt; i++)
		(void)snprintf(buf + strlen(buf), sizeof(buf) - strlen(buf), "%s%s=%s",
			       i ? " " : "", s.v[i].path, s.v[i].guest ? s.v[i].guest : "-");
	submounts_free(&s);
	return buf;
}

Test(submounts, of_a_host)
{
	cr_expect_str_eq(found(host, "/"), "sys=/sys proc=/proc dev=/dev run/netns/a=- "
					   "srv/a b/proc=/proc srv/part=-");
	cr_expect_str_eq(found(host, "/srv"), "a b/proc=/proc part=-");
	cr_expect_str_eq(found(host, "/srv/"), "a b/proc=/proc part=-");
	cr_expect_str_eq(found(host, "/srv/a b"), "proc=/proc");
	cr_expect_str_eq(found(host, "/run"), "netns/a=-");
	cr_expect_str_eq(found(host, "/home"), "");
	/* A name that only begins like it; the mount itself. */
	cr_expect_str_eq(found(host, "/pro"), "");
	cr_expect_str_eq(found(host, "/dev"), "pts=/dev/pts");
}

/* What lies below another goes with it, whichever was mounted first. */
Test(submounts, nested)
{
	cr_expect_str_eq(found("1 1 0:1 / /a/x/p rw - proc p rw\n2 1 0:2 / /a/x rw - sysfs s rw\n"
			       "3 1 0:3 / /a/xy rw - proc p rw\n",
			       "/a"),
			 "x=/sys xy=/proc");
	cr_expect_str_eq(found("", "/"), "");
}

Test(mountinfo, lines)
{
	static const char text[] = "1 0 0:1 /r\\134x /p\\011y rw a:1 b:2 - t\\040t src o1,o2\n"
				   "2 0 0:1 / /q rw - tmpfs src\n"
				   "3 0 0:1 / /q rw tmpfs src rw\n"
				   "4 0 0:1 /\n"
				   "\n"
				   "5 0 0:1 / /end\\04 rw - tmpfs src rw";
	const char *p = text;
	struct mountinfo m;

	cr_assert(mountinfo_next(&p, &m));
	cr_expect_str_eq(m.root, "/r\\x");
	cr_expect_str_eq(m.point, "/p\ty");
	cr_expect_str_eq(m.type, "t t");
	cr_expect_eq(m.super_len, 5);
	cr_expect(!strncmp(m.super, "o1,o2", 5));
	cr_assert(mountinfo_next(&p, &m));
	cr_expect_str_eq(m.point, "/q");
	cr_expect_eq(m.super_len, 0);
	/* What is cut off is no line, and an escape that is cut off is no escape. */
	cr_assert(mountinfo_next(&p, &m));
	cr_expect_str_eq(m.point, "/end\\04");
	cr_expect(!mountinfo_next(&p, &m));
}
