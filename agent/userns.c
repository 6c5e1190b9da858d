/* SPDX-License-Identifier: Apache-2.0 */
/* User and time name spaces. See userns.h. */
#include "agent/userns.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/sched.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

#define MAP_LINE 36 /* "4294967295 4294967295 4294967295\n" and its NUL */

static uint32_t map(const struct spec_ids *m, uint32_t id)
{
	if (!m->cnt)
		return id;
	for (size_t i = 0; i < m->cnt; i++)
		if (id - m->v[i].inside < m->v[i].size && id >= m->v[i].inside)
			return m->v[i].outside + (id - m->v[i].inside);
	return UINT32_MAX;
}

uint32_t userns_kuid(const struct spec *s, uint32_t id)
{
	return map(&s->uids, id);
}

uint32_t userns_kgid(const struct spec *s, uint32_t id)
{
	return map(&s->gids, id);
}

/* Shows its procfs directory to the child and stays until the child lets go of the socket. */
static NORETURN void helper(int sock)
{
	int dir = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	char c = 'D', end;

	if (dir >= 0 && fd_send(sock, &c, 1, &dir, 1) == 1)
		while (read(sock, &end, 1) < 0 && errno == EINTR)
			;
	_exit(0); /* a helper's end */
}

static int spawn_helper(struct child *ch, int *ret_dir)
{
	const int flags = ch->c->spec.clone_flags;
	struct clone_args args = {.exit_signal = SIGCHLD};
	unsigned nfds = 1;
	int pair[2], pidfd = -1;
	char c;

	args.flags = (uint64_t)(unsigned)(flags & ~CLONE_NEWPID) | CLONE_PIDFD;
	args.pidfd = (uintptr_t)&pidfd;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	ch->helper = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (ch->helper == 0) {
		(void)close(pair[0]);
		helper(pair[1]);
	}
	if (ch->helper < 0) {
		int rc = -errno;

		ch->helper = 0;
		(void)close(pair[0]);
		(void)close(pair[1]);
		return rc;
	}
	(void)close(pair[1]);
	ch->helper_sock = pair[0];
	ch->user_fd = pidfd;
	return fd_recv(pair[0], &c, 1, ret_dir, &nfds) == 1 && nfds == 1 ? 0 : -ECHILD;
}

static int write_map(int dir, const char *file, const struct spec_ids *m)
{
	auto_free char *text = calloc(m->cnt + 1, MAP_LINE);
	auto_fd fd = openat(dir, file, O_WRONLY | O_CLOEXEC);
	size_t len = 0;

	if (!text)
		return -ENOMEM;
	if (fd < 0)
		return -errno;
	for (size_t i = 0; i < m->cnt; i++)
		len +=
		    (size_t)snprintf(text + len, MAP_LINE, "%" PRIu32 " %" PRIu32 " %" PRIu32 "\n",
				     m->v[i].inside, m->v[i].outside, m->v[i].size);
	/* In one piece: the kernel takes one write. */
	return write(fd, text, len) == (ssize_t)len ? 0 : -errno;
}

/* What is made from now on is the container's root's, and the rights to make it stay. */
static void become_owner(const struct spec *s)
{
	uint32_t uid = userns_kuid(s, 0), gid = userns_kgid(s, 0);

	(void)prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0);
	if (gid != UINT32_MAX)
		(void)setfsgid(gid);
	if (uid != UINT32_MAX)
		(void)setfsuid(uid);
}

int userns_begin(struct child *ch, struct err *e)
{
	const struct spec *s = &ch->c->spec;
	int joins = s->clone_flags & ~(CLONE_NEWUSER | CLONE_NEWPID);
	auto_fd dir = -1;
	int rc;

	if (!(s->clone_flags & CLONE_NEWUSER))
		return 0;
	rc = spawn_helper(ch, &dir);
	if (rc < 0)
		return err_sys(e, rc, "namespace 'user'");
	rc = write_map(dir, "uid_map", &s->uids);
	if (rc < 0)
		return err_sys(e, rc, "uidMappings: the kernel refuses them");
	rc = write_map(dir, "gid_map", &s->gids);
	if (rc < 0)
		return err_sys(e, rc, "gidMappings: the kernel refuses them");
	if (setns(ch->user_fd, joins) < 0)
		return err_sys(e, -errno, "namespace 'user': joining those that belong to it");
	become_owner(s);
	return 0;
}

int userns_join(struct child *ch, struct err *e)
{
	if (!(ch->c->spec.clone_flags & CLONE_NEWUSER))
		return 0;
	if (setns(ch->init ? ch->user_fd : ch->join_fd, CLONE_NEWUSER) < 0)
		return err_sys(e, -errno, "namespace 'user'");
	if (!ch->helper)
		return 0;
	fd_close(&ch->helper_sock);
	while (waitpid(ch->helper, NULL, 0) < 0 && errno == EINTR)
		;
	ch->helper = 0;
	return 0;
}

int timens_enter(const struct spec *s, struct err *e)
{
	char text[128];
	auto_fd ns = -1;
	int rc;

	if (!s->new_time)
		return 0;
	if (unshare(CLONE_NEWTIME) < 0)
		return err_sys(e, -errno, "namespace 'time'");
	(void)snprintf(text, sizeof(text),
		       "monotonic %" PRId64 " %" PRIu32 "\nboottime %" PRId64 " %" PRIu32 "\n",
		       s->monotonic.secs, s->monotonic.nsecs, s->boottime.secs, s->boottime.nsecs);
	rc = write_text("/proc/self/timens_offsets", text);
	if (rc < 0)
		return err_sys(e, rc, "timeOffsets");
	/* Unsharing it is for children; a process without threads can follow. */
	ns = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
	if (ns < 0 || setns(ns, CLONE_NEWTIME) < 0)
		return err_sys(e, -errno, "namespace 'time'");
	return 0;
}
