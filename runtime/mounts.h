/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container's mount tree on the host, which the 9p server exports: rootfs and bind mounts. What
 * the guest mounts itself (proc, tmpfs, …) gets its mount point here and no more. Runs in the
 * sandbox process, single-threaded, inside its own mount namespace.
 */
#ifndef HUSK_RUNTIME_MOUNTS_H
#define HUSK_RUNTIME_MOUNTS_H

#include "base/err.h"
#include "runtime/spec.h"

/*
 * Before the fork: makes mounts of @s's document into what the guest is to make. A tmpfs of the host
 * on /dev/shm (of podman, of Kubernetes) becomes one of the guest, of the same size: shared memory
 * is shared inside the VM. Sources below /proc, /sys and /dev get their real names, by which the
 * agent knows them.
 */
int mounts_for_guest(struct spec *s, struct err *e) MUST_CHECK;
/* Builds the tree; *ret_root is an O_PATH descriptor of its root. */
int mounts_build(const struct spec *s, int *ret_root, struct err *e) MUST_CHECK;
/* Is @path covered by one of the guest's own mounts? Then the host cannot say what is there. */
bool mounts_is_guests(const struct spec *s, const char *path);
/* Makes the tree the process's root and lets go of everything above it. */
int mounts_pivot(int root, struct err *e) MUST_CHECK;

#endif
