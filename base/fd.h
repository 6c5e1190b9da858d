/* SPDX-License-Identifier: Apache-2.0 */
/*
 * File descriptors and memory that close themselves, full reads and writes, descriptor passing.
 *
 * EINTR is handled here and nowhere else. All functions return 0 or a count, or -errno.
 */
#ifndef HUSK_BASE_FD_H
#define HUSK_BASE_FD_H

#include <stddef.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>
#include "base/compiler.h"

static inline void fd_close(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}
/*
 * Opens /dev/null as each of stdin, stdout and stderr that is closed, so that no descriptor of ours
 * becomes one of them by chance. 0 or -errno. At the start of a program.
 */
int fd_fill_stdio(void) MUST_CHECK;
static inline void free_ptr(void *p)
{
	free(*(void **)p);
}
/* Owned by the scope; initialise at declaration; give ownership away with fd_take()/ptr_take(). */
#define auto_fd	  CLEANUP(fd_close) int
#define auto_free CLEANUP(free_ptr)

static inline int fd_take(int *fd)
{
	int v = *fd;

	*fd = -1;
	return v;
}
#define ptr_take(p)                                                                                \
	({                                                                                         \
		__typeof__(p) took_ = (p);                                                         \
		(p) = NULL;                                                                        \
		took_;                                                                             \
	})

/* Reads until @len bytes or end of file. Returns the count, short only at the end of the file. */
ssize_t fd_read_full(int fd, void *buf, size_t len) MUST_CHECK;
ssize_t fd_pread_full(int fd, void *buf, size_t len, off_t off) MUST_CHECK;
/* Writes all of it or fails. Returns 0 or -errno. Blocks on a blocking fd, -EAGAIN else. */
int fd_write_full(int fd, const void *buf, size_t len) MUST_CHECK;
int fd_pwrite_full(int fd, const void *buf, size_t len, off_t off) MUST_CHECK;

/*
 * Reads the whole of @path (relative to @dirfd) into a NUL-terminated malloc'd buffer that the caller
 * frees. Fails with -EFBIG beyond @max bytes (0 = no limit of ours). @ret_len may be NULL.
 */
int fd_read_file(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len) MUST_CHECK;
/* The same from an open descriptor, from its current position to the end. */
int fd_read_all(int fd, size_t max, char **ret, size_t *ret_len) MUST_CHECK;
/* Writes @len bytes to an existing or new file (O_TRUNC), @mode for a new one. Not atomic. */
int fd_write_file(int dirfd, const char *path, const void *buf, size_t len, mode_t mode) MUST_CHECK;
/* Writes a temporary name beside @path and renames it over: readers see the old or the new, whole. */
int fd_replace_file(int dirfd, const char *path, const void *buf, size_t len,
		    mode_t mode) MUST_CHECK;

int fd_set_cloexec(int fd, int on);
int fd_set_nonblock(int fd, int on);

#define FD_PASS_MAX 16 /* descriptors in one message, ours; SCM_MAX_FD of Linux is 253 */

/* Sends @len > 0 bytes with @nfds descriptors in one message. Returns bytes sent or -errno. */
ssize_t fd_send(int sock, const void *buf, size_t len, const int *fds, unsigned nfds) MUST_CHECK;
/*
 * Receives at most @len bytes and at most *@nfds descriptors (close-on-exec); *@nfds becomes the
 * count got. More descriptors than there is room for are closed and reported as -EMSGSIZE. The caller
 * owns what it gets. Returns bytes (0 = end of file) or -errno.
 */
ssize_t fd_recv(int sock, void *buf, size_t len, int *fds, unsigned *nfds) MUST_CHECK;

#endif
