/* SPDX-License-Identifier: Apache-2.0 */
/*
 * labio: the frames between tests/lab/run (outside) and PID 1 of the lab (inside).
 *
 * They travel over one virtio-serial port, so everything a script prints, the order in which it
 * printed it, and its exit status arrive in one ordered stream: once LAB_EXIT has been read,
 * nothing before it can be missing, and the VM can be ended at once. No kernel message gets into
 * it, because the console is another device. Both ends come from the same build (run caches them
 * under one hash), so the format has no version.
 *
 * A frame is a struct lab_frame and then len bytes.
 */
#ifndef TESTS_LAB_LABIO_H
#define TESTS_LAB_LABIO_H

#include <errno.h>
#include <stdint.h>
#include <unistd.h>

/* Longest payload. The port takes 32 KiB per write (drivers/char/virtio_console.c). */
#define LAB_FRAME_MAX 32000u
#define LAB_PORT_NAME "husk.lab"

enum lab_type {
	/* outside to inside; everything up to LAB_GO describes the command */
	LAB_ARG = 'a', /* one argument, exact bytes */
	LAB_ENV = 'e', /* NAME=VALUE */
	LAB_CWD = 'c',
	LAB_SHOW = 'b', /* a path of the machine that a tmpfs hides: bind it back */
	LAB_TTY = 't',	/* the command gets a pty; payload: struct winsize; later: it was resized */
	LAB_GO = 'g',
	LAB_STDIN = 'i', /* empty: end of file */
	/* inside to outside */
	LAB_UP = 'u', /* the lab is ready, waits for the command */
	LAB_STDOUT = 'o',
	LAB_STDERR = 'r',
	LAB_EXIT = 'x', /* payload: int32_t status, as a shell counts it */
};

struct lab_frame {
	uint8_t type;
	uint8_t zero[3];
	uint32_t len; /* host order: both ends are the same machine */
};

/* Write or read exactly @len bytes of a blocking fd: 0, or -errno (-EPIPE at end of file). */
static inline int lab_write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

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

static inline int lab_read_all(int fd, void *data, size_t len)
{
	char *p = data;

	while (len) {
		ssize_t n = read(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EPIPE;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static inline int lab_send(int fd, enum lab_type type, const void *data, size_t len)
{
	struct lab_frame f = {.type = (uint8_t)type, .len = (uint32_t)len};
	int err;

	if (len > LAB_FRAME_MAX)
		return -E2BIG;
	err = lab_write_all(fd, &f, sizeof(f));
	return err ? err : lab_write_all(fd, data, len);
}

#endif
