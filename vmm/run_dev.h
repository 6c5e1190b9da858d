/* SPDX-License-Identifier: Apache-2.0 */
/* `vmm run`: opens what the options name and makes devices of it. */
#ifndef HUSK_VMM_RUN_DEV_H
#define HUSK_VMM_RUN_DEV_H

#include "vmm/run.h"

/* Opens with O_CLOEXEC; the sentence says @what it is. A descriptor or -errno. */
int run_open(const char *what, const char *path, int flags, struct err *e) MUST_CHECK;

/* All disks, shares, pmem windows and network cards of @cfg, in the order of the options. */
int run_add_devices(struct machine *m, const struct run_config *cfg, struct err *e) MUST_CHECK;
/*
 * The kernel's words for the root file system among the pmem images, with a space in front; "" without one.
 * run_root.c.
 */
int run_root(const struct run_config *cfg, char *buf, size_t len, struct err *e) MUST_CHECK;
/* Where the @nth partition (from 1) of a GPT or of an MBR lies, in bytes. 0, -ENOENT, -ENODATA (cut off). */
int run_partition(int fd, unsigned nth, uint64_t *ret_off, uint64_t *ret_len) MUST_CHECK;

/* One network card; run_net.c. */
int run_add_net(struct machine *m, const struct run_net *n, unsigned nth, struct err *e) MUST_CHECK;

#endif
