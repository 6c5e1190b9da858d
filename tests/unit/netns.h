/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Network name spaces of a test's own, with an Ethernet pair as engines make one. As root only.
 */
#ifndef HUSK_TESTS_UNIT_NETNS_H
#define HUSK_TESTS_UNIT_NETNS_H

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/compiler.h"

/* A command that has to succeed. */
static void ip(const char *fmt, ...) PRINTF_LIKE(1, 2);
static void ip(const char *fmt, ...)
{
	char cmd[512];
	va_list ap;
	int rc;

	va_start(ap, fmt);
	(void)vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	rc = system(cmd);
	cr_assert(rc == 0, "%s: %d", cmd, rc);
}

/* Is @text in what @cmd prints? */
static bool says(const char *cmd, const char *text)
{
	char buf[8192];
	FILE *f = popen(cmd, "r");
	size_t n;

	cr_assert(f);
	n = fread(buf, 1, sizeof(buf) - 1, f);
	buf[n] = '\0';
	(void)pclose(f);
	return strstr(buf, text) != NULL;
}

/* A name space with an Ethernet pair: eth0 is the engine's, out0 its other end. */
static void fresh_netns(void)
{
	cr_assert_eq(unshare(CLONE_NEWNET), 0, "as root only: %s", strerror(errno));
	ip("ip link set lo up");
	ip("ip link add eth0 address 02:00:00:00:00:05 mtu 1400 type veth peer name out0");
	ip("ip addr add 10.0.0.5/24 brd + dev eth0 && ip addr add fd00::5/64 dev eth0 nodad");
	ip("ip link set eth0 up && ip link set out0 up");
}

MAYBE_UNUSED static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 300) == 1;
}

/* out0 in a name space of its own, where this process is a moment later; and back. */
MAYBE_UNUSED static int ours, theirs;
MAYBE_UNUSED static void two_netns(void)
{
	fresh_netns();
	ours = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	cr_assert_eq(unshare(CLONE_NEWNET), 0);
	theirs = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	cr_assert_eq(setns(ours, CLONE_NEWNET), 0);
	ip("ip link set out0 netns /proc/%d/fd/%d", getpid(), theirs);
	cr_assert_eq(setns(theirs, CLONE_NEWNET), 0);
	ip("ip addr add 10.0.0.1/24 dev out0 && ip addr add fd00::1/64 dev out0 nodad");
	ip("ip link set out0 up");
}

#endif
