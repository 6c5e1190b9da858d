/* SPDX-License-Identifier: Apache-2.0 */
/* `vmm run`: opens what the options name and makes devices of it. */
#ifndef HUSK_VMM_RUN_DEV_H
#define HUSK_VMM_RUN_DEV_H

#include "vmm/run.h"

/* Opens with O_CLOEXEC; the sentence says @what it is. A descriptor or -errno. */
int run_open(const char *what, const char *path, int flags, struct err *e) MUST_CHECK;

/* All disks, shares, pmem windows and network cards of @cfg, in the order of the options. */
int run_add_devices(struct machine *m, const struct run_config *cfg, struct err *e) MUST_CHECK;

#endif
