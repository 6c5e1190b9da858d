/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fd.c: full reads and writes, whole files, descriptor passing.
 */
#include <criterion/criterion.h>
#include <sys/wait.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

static char dir[] = "/tmp/husk-test-fd.XXXXXX";
static int dfd;

static void begin(void)
{
	cr_assert_not_null(mkdtemp(dir));
	dfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(dfd, 0);
}

static void end(void)
{
	(void)unlinkat(dfd, "f", 0);
	cr_assert_eq(rmdir(dir), 0, "something was left behind");
	(void)close(dfd);
}

static void *drip(void *arg)
{
	int fd = *(int *)arg;

	for (unsigned i = 0; i < 1000; i++)
		if (write(fd, &"0123456789"[i % 10], 1) != 1)
			return NULL;
	(void)close(fd);
	return NULL;
}

Test(fd, read_full_collects_pieces)
{
	char buf[2000];
	pthread_t t;
	int p[2];

	cr_assert_eq(pipe2(p, O_CLOEXEC), 0);
	cr_assert_eq(pthread_create(&t, NULL, drip, &p[1]), 0);
	cr_assert_eq(fd_read_full(p[0], buf, 700), 700);
	cr_assert_eq(fd_read_full(p[0], buf + 700, 700), 300, "short at the end only");
	for (unsigned i = 0; i < 1000; i++)
		cr_assert_eq(buf[i], (char)('0' + i % 10));
	cr_assert_eq(fd_read_full(p[0], buf, 1), 0);
	cr_assert_eq(fd_read_full(-1, buf, 1), -EBADF);
	(void)pthread_join(t, NULL);
}

Test(fd, pwrite_full)
{
	int fd = memfd_create("x", MFD_CLOEXEC), sealed = memfd_create("y", MFD_ALLOW_SEALING);
	char buf[8] = {0};

	cr_assert_eq(fd_pwrite_full(fd, "abcd", 4, 3), 0);
	cr_assert_eq(fd_pwrite_full(fd, "xy", 2, 0), 0);
	cr_assert_eq(fd_pread_full(fd, buf, 8, 0), 7);
	cr_assert_eq(memcmp(buf, "xy\0abcd", 7), 0);
	cr_assert_eq(fd_pwrite_full(fd, buf, 0, 100), 0);
	cr_assert_eq(fd_pwrite_full(-1, buf, 1, 0), -EBADF);
	cr_assert_eq(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE), 0);
	cr_assert_eq(fd_pwrite_full(sealed, buf, 1, 0), -EPERM);
	(void)close(fd);
	(void)close(sealed);
}

Test(fd, pread_full)
{
	int fd = memfd_create("t", MFD_CLOEXEC);
	char buf[8];

	cr_assert_eq(fd_write_full(fd, "abcdef", 6), 0);
	cr_assert_eq(fd_pread_full(fd, buf, 8, 2), 4);
	cr_assert_eq(memcmp(buf, "cdef", 4), 0);
	cr_assert_eq(fd_pread_full(fd, buf, 8, 100), 0);
	cr_assert_eq(fd_pread_full(fd, buf, 8, -1), -EINVAL);
}

Test(fd, write_full_says_when_it_cannot)
{
	static char big[1 << 20];
	int p[2];

	cr_assert_eq(pipe2(p, O_CLOEXEC | O_NONBLOCK), 0);
	cr_assert_eq(fd_write_full(p[1], big, sizeof(big)), -EAGAIN);
	cr_assert_eq(fd_write_full(-1, big, 1), -EBADF);
	cr_assert_eq(fd_write_full(-1, big, 0), 0);
}

Test(fd, read_file_and_limits)
{
	auto_free char *s = NULL;
	size_t n = 0;
	char *keep = NULL;

	begin();
	cr_assert_eq(fd_write_file(dfd, "f", "0123456789", 10, 0600), 0);
	cr_assert_eq(fd_read_file(dfd, "f", 10, &s, &n), 0);
	cr_assert_eq(n, 10);
	cr_assert_str_eq(s, "0123456789");
	cr_assert_eq(fd_read_file(dfd, "f", 9, &keep, &n), -EFBIG);
	cr_assert_null(keep);
	cr_assert_eq(fd_read_file(dfd, "none", 0, &keep, NULL), -ENOENT);
	cr_assert_eq(fd_write_file(dfd, "f", "ab", 2, 0600), 0);
	free(s);
	cr_assert_eq(fd_read_file(dfd, "f", 0, &s, NULL), 0);
	cr_assert_str_eq(s, "ab");
	end();
}

/* Neither a size nor an end that is known before: /proc files say 0, pipes nothing. */
Test(fd, read_all_of_what_has_no_size)
{
	auto_free char *maps = NULL;
	static char big[20000];
	char *s = NULL;
	size_t n = 0;
	int p[2];

	cr_assert_eq(fd_read_file(AT_FDCWD, "/proc/self/maps", 0, &maps, &n), 0);
	cr_assert_gt(n, 4096);
	cr_assert_eq(strlen(maps), n);
	cr_assert_eq(pipe2(p, O_CLOEXEC), 0);
	memset(big, 'x', sizeof(big));
	cr_assert_eq(fd_write_full(p[1], big, sizeof(big)), 0);
	(void)close(p[1]);
	cr_assert_eq(fd_read_all(p[0], 20000, &s, &n), 0);
	cr_assert_eq(n, 20000);
	cr_assert_eq(s[20000], '\0');
	free(s);
	/* The limit holds without a size too. */
	cr_assert_eq(pipe2(p, O_CLOEXEC), 0);
	cr_assert_eq(fd_write_full(p[1], big, sizeof(big)), 0);
	(void)close(p[1]);
	cr_assert_eq(fd_read_all(p[0], 19999, &s, &n), -EFBIG);
}

/* A limit stops reading there, and not where the source ends. */
Test(fd, read_all_of_what_never_ends, .timeout = 10)
{
	char *s = NULL;

	cr_assert_eq(fd_read_file(AT_FDCWD, "/dev/zero", 1 << 20, &s, NULL), -EFBIG);
	cr_assert_null(s);
}

/* From the current position, which may be behind the end or in a file that grew. */
Test(fd, read_all_from_the_middle)
{
	int fd = memfd_create("t", MFD_CLOEXEC);
	auto_free char *s = NULL;
	size_t n;

	cr_assert_eq(fd_write_full(fd, "abcdef", 6), 0);
	cr_assert_eq(lseek(fd, 4, SEEK_SET), 4);
	cr_assert_eq(fd_read_all(fd, 6, &s, &n), 0);
	cr_assert_eq(n, 2);
	cr_assert_str_eq(s, "ef");
}

Test(fd, replace_file_is_whole_or_nothing)
{
	auto_free char *s = NULL;
	struct stat st;

	begin();
	cr_assert_eq(fd_replace_file(dfd, "f", "old", 3, 0640), 0);
	cr_assert_eq(fd_replace_file(dfd, "f", "newer", 5, 0640), 0);
	cr_assert_eq(fd_read_file(dfd, "f", 0, &s, NULL), 0);
	cr_assert_str_eq(s, "newer");
	cr_assert_eq(fstatat(dfd, "f", &st, 0), 0);
	cr_assert_eq(st.st_mode & 0777, 0640 & ~umask(0));
	cr_assert_eq(fd_replace_file(dfd, "no/such", "x", 1, 0600), -ENOENT);
	/* The rename fails: the temporary file goes away. */
	cr_assert_eq(mkdirat(dfd, "d", 0700), 0);
	cr_assert_lt(fd_replace_file(dfd, "d", "x", 1, 0600), 0);
	cr_assert_eq(unlinkat(dfd, "d", AT_REMOVEDIR), 0);
	end();
}

Test(fd, flags)
{
	int p[2];

	cr_assert_eq(pipe(p), 0);
	cr_assert_eq(fd_set_cloexec(p[0], 1), 0);
	cr_assert(fcntl(p[0], F_GETFD) & FD_CLOEXEC);
	cr_assert_eq(fd_set_cloexec(p[0], 0), 0);
	cr_assert_not(fcntl(p[0], F_GETFD) & FD_CLOEXEC);
	cr_assert_eq(fd_set_nonblock(p[0], 1), 0);
	cr_assert(fcntl(p[0], F_GETFL) & O_NONBLOCK);
	cr_assert_eq(fd_set_nonblock(-1, 1), -EBADF);
}

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int i = 0; i < 256; i++)
		n += fcntl(i, F_GETFD) >= 0;
	return n;
}

Test(fd, passing)
{
	int sv[2], give[FD_PASS_MAX + 1], got[FD_PASS_MAX];
	unsigned n, before;
	char buf[16];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	for (unsigned i = 0; i <= FD_PASS_MAX; i++)
		give[i] = memfd_create("t", MFD_CLOEXEC);
	cr_assert_eq(fd_send(sv[0], "abc", 3, give, FD_PASS_MAX), 3);
	n = FD_PASS_MAX;
	cr_assert_eq(fd_recv(sv[1], buf, sizeof(buf), got, &n), 3);
	cr_assert_eq(n, FD_PASS_MAX);
	for (unsigned i = 0; i < n; i++) {
		cr_assert(fcntl(got[i], F_GETFD) & FD_CLOEXEC);
		(void)close(got[i]);
	}
	/* Without descriptors. */
	cr_assert_eq(fd_send(sv[0], "x", 1, NULL, 0), 1);
	n = 4;
	cr_assert_eq(fd_recv(sv[1], buf, sizeof(buf), got, &n), 1);
	cr_assert_eq(n, 0);
	/* More than there is room for: all are closed. */
	before = open_fds();
	cr_assert_eq(fd_send(sv[0], "x", 1, give, 5), 1);
	n = 4;
	cr_assert_eq(fd_recv(sv[1], buf, sizeof(buf), got, &n), -EMSGSIZE);
	cr_assert_eq(n, 0);
	cr_assert_eq(open_fds(), before);
	/* More than a message of ours may have. */
	cr_assert_eq(fd_send(sv[0], "x", 1, give, FD_PASS_MAX + 1), -EINVAL);
	cr_assert_eq(fd_send(sv[0], "", 0, give, 1), -EINVAL);
	/* From a peer who does not care: the kernel cuts, and we say so and keep none. */
	{
		union {
			struct cmsghdr h;
			char b[CMSG_SPACE(sizeof(give))];
		} ctl = {0};
		struct iovec iov = {buf, 1};
		struct msghdr m = {.msg_iov = &iov,
				   .msg_iovlen = 1,
				   .msg_control = ctl.b,
				   .msg_controllen = sizeof(ctl.b)};

		ctl.h.cmsg_level = SOL_SOCKET;
		ctl.h.cmsg_type = SCM_RIGHTS;
		ctl.h.cmsg_len = CMSG_LEN(sizeof(give));
		memcpy(CMSG_DATA(&ctl.h), give, sizeof(give));
		cr_assert_eq(sendmsg(sv[0], &m, 0), 1);
	}
	n = FD_PASS_MAX;
	cr_assert_eq(fd_recv(sv[1], buf, sizeof(buf), got, &n), -EMSGSIZE);
	cr_assert_eq(open_fds(), before);
	(void)close(sv[0]);
	n = 1;
	cr_assert_eq(fd_recv(sv[1], buf, sizeof(buf), got, &n), 0, "end of file");
}

Test(fd, fills_only_the_stdio_that_is_closed)
{
	int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), status;
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		struct stat null, st;

		/* Nothing is missing: nothing is opened, /dev/null or not. */
		(void)close(root);
		if (fd_fill_stdio() < 0 || fcntl(root, F_GETFD) >= 0)
			_exit(1);
		(void)close(STDIN_FILENO);
		(void)close(STDERR_FILENO);
		if (fd_fill_stdio() < 0 || stat("/dev/null", &null) < 0)
			_exit(2);
		for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd += 2)
			if (fstat(fd, &st) < 0 || st.st_rdev != null.st_rdev)
				_exit(3);
		/* A directory of which /dev/null cannot be opened: only a gap makes it fail. */
		if (geteuid() == 0 && chroot("/proc/self") == 0 && chdir("/") == 0) {
			if (fd_fill_stdio() < 0)
				_exit(4);
			(void)close(STDIN_FILENO);
			if (fd_fill_stdio() != -ENOENT)
				_exit(5);
		}
		_exit(0);
	}
	(void)close(root);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x", status);
}
