/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which file systems of the spec's mounts the guest makes from its own kernel. All others, and bind
 * mounts, are of the host: the sandbox process mounts them and the guest sees them over 9p. Both
 * sides have to agree. A pure table.
 */
#ifndef HUSK_BASE_GUESTFS_H
#define HUSK_BASE_GUESTFS_H

#include <stdbool.h>

bool guestfs_is(const char *type);

#endif
