/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's kernel and mini OS image: where they are, opened. */
#ifndef HUSK_RUNTIME_ASSETS_H
#define HUSK_RUNTIME_ASSETS_H

#include "base/err.h"

struct assets {
	int kernel_fd, image_fd, initrd_fd; /* initrd_fd -1 = none */
	char kernel[4096], image[4096];	    /* their paths, for messages */
};

struct assets_want {
	const char *dir;	    /* from --assets: vmlinux and rootfs.erofs are there */
	const char *kernel, *image; /* their files, each nearer than any directory */
	const char *initrd;	    /* NULL = none */
};

/*
 * What @want does not name is looked for in <prefix>/lib/husk beside the program's bin/, else in
 * the build tree that the program is in. The descriptors are the caller's.
 */
int assets_open(const struct assets_want *want, struct assets *ret, struct err *e) MUST_CHECK;

#endif
