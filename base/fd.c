/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

int fd_fill_stdio(void)
{
	/* From below, so that open() takes the one that is missing; nothing is opened when none is. */
	for (int want = STDIN_FILENO; want <= STDERR_FILENO; want++) {
		int fd;

		if (fcntl(want, F_GETFD) >= 0)
			continue;
		fd = open("/dev/null", O_RDWR);
		if (fd < 0)
			return -errno;
		BUG_ON(fd != want);
	}
	return 0;
}

ssize_t fd_read_full(int fd, void *buf, size_t len)
{
	size_t got = 0;

	while (got < len) {
		ssize_t n = read(fd, (char *)buf + got, len - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

ssize_t fd_pread_full(int fd, void *buf, size_t len, off_t off)
{
	size_t got = 0;

	while (got < len) {
		ssize_t n = pread(fd, (char *)buf + got, len - got, off + (off_t)got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

int fd_write_full(int fd, const void *buf, size_t len)
{
	const char *p = buf;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int fd_pwrite_full(int fd, const void *buf, size_t len, off_t off)
{
	size_t put = 0;

	while (put < len) {
		ssize_t n = pwrite(fd, (const char *)buf + put, len - put, off + (off_t)put);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		put += (size_t)n;
	}
	return 0;
}

int fd_read_all(int fd, size_t max, char **ret, size_t *ret_len)
{
	auto_free char *buf = NULL;
	size_t cap = 4096, len = 0;
	struct stat st;

	/* A hint, no more: sysfs calls a file of five bytes 4096 long. */
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) {
		cap = (size_t)st.st_size + 1;
		if (max && cap > max)
			cap = max + 1;
	}
	buf = malloc(cap + 1);
	if (!buf)
		return -ENOMEM;
	for (;;) {
		ssize_t n = fd_read_full(fd, buf + len, cap - len);
		char *bigger;

		if (n < 0)
			return (int)n;
		len += (size_t)n;
		if (max && len > max)
			return -EFBIG;
		if (len < cap)
			break;
		if (cap > SIZE_MAX / 2 - 1)
			return -EFBIG;
		bigger = realloc(buf, cap * 2 + 1);
		if (!bigger)
			return -ENOMEM;
		buf = bigger;
		cap *= 2;
	}
	buf[len] = '\0';
	*ret = ptr_take(buf);
	if (ret_len)
		*ret_len = len;
	return 0;
}

int fd_read_file(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len)
{
	auto_fd fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return fd_read_all(fd, max, ret, ret_len);
}

int fd_write_file(int dirfd, const char *path, const void *buf, size_t len, mode_t mode)
{
	auto_fd fd = openat(dirfd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	if (fd < 0)
		return -errno;
	return fd_write_full(fd, buf, len);
}

int fd_replace_file(int dirfd, const char *path, const void *buf, size_t len, mode_t mode)
{
	static unsigned serial; /* two threads of a process may replace the same file */
	unsigned n = __atomic_fetch_add(&serial, 1, __ATOMIC_RELAXED);
	char tmp[4096];
	int rc;

	if ((size_t)snprintf(tmp, sizeof(tmp), "%s.%d.%u.tmp", path, (int)getpid(), n) >=
	    sizeof(tmp))
		return -ENAMETOOLONG;
	rc = fd_write_file(dirfd, tmp, buf, len, mode);
	if (rc == 0 && renameat(dirfd, tmp, dirfd, path) < 0)
		rc = -errno;
	if (rc < 0)
		(void)unlinkat(dirfd, tmp, 0);
	return rc;
}

static int fd_flag(int fd, int get, int set, int bit, int on)
{
	int fl = fcntl(fd, get);

	if (fl < 0)
		return -errno;
	if (fcntl(fd, set, on ? fl | bit : fl & ~bit) < 0)
		return -errno;
	return 0;
}

int fd_set_cloexec(int fd, int on)
{
	return fd_flag(fd, F_GETFD, F_SETFD, FD_CLOEXEC, on);
}

int fd_set_nonblock(int fd, int on)
{
	return fd_flag(fd, F_GETFL, F_SETFL, O_NONBLOCK, on);
}

union pass_ctl {
	struct cmsghdr hdr;
	char buf[CMSG_SPACE(sizeof(int) * FD_PASS_MAX)];
};

ssize_t fd_send(int sock, const void *buf, size_t len, const int *fds, unsigned nfds)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	union pass_ctl ctl;
	ssize_t n;

	if (nfds > FD_PASS_MAX || len == 0)
		return -EINVAL;
	if (nfds) {
		struct cmsghdr *c;

		memset(&ctl, 0, sizeof(ctl));
		msg.msg_control = ctl.buf;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * nfds);
	}
	do {
		n = sendmsg(sock, &msg, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

ssize_t fd_recv(int sock, void *buf, size_t len, int *fds, unsigned *nfds)
{
	struct iovec iov = {.iov_base = buf, .iov_len = len};
	union pass_ctl ctl;
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = ctl.buf,
			     .msg_controllen = sizeof(ctl.buf)};
	unsigned room = *nfds, got = 0, lost = 0;
	ssize_t n;

	*nfds = 0;
	do {
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		unsigned cnt;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		cnt = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		for (unsigned i = 0; i < cnt; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (got < room) {
				fds[got++] = fd;
			} else {
				(void)close(fd);
				lost++;
			}
		}
	}
	if (lost || (msg.msg_flags & MSG_CTRUNC)) {
		while (got)
			(void)close(fds[--got]);
		return -EMSGSIZE;
	}
	*nfds = got;
	return n;
}
