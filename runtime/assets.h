/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's kernel and mini OS image: where they are, opened. */
#ifndef HUSK_RUNTIME_ASSETS_H
#define HUSK_RUNTIME_ASSETS_H

#include "base/err.h"

struct assets {
	int kernel_fd, image_fd;
	char kernel[4096], image[4096]; /* their paths, for messages */
};

/*
 * @dir (from --assets) or, when NULL: <prefix>/lib/husk beside the program's bin/, else the build
 * tree that the program is in. The descriptors are the caller's.
 */
int assets_open(const char *dir, struct assets *ret, struct err *e) MUST_CHECK;

#endif
