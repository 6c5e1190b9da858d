/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mount options of the OCI spec (config.md, "Linux mount options") for the mount API by descriptors
 * (fsopen, fsmount, mount_setattr, move_mount: Linux 5.12). Pure.
 */
#ifndef HUSK_BASE_MOUNTOPT_H
#define HUSK_BASE_MOUNTOPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define MOUNTOPT_DATA_MAX 64

struct mountopt {
	uint64_t set, clr;	       /* MOUNT_ATTR_*, of this mount */
	uint64_t rec_set, rec_clr;     /* of this mount and all below */
	bool has_atime, has_rec_atime; /* set holds an access time mode to apply */
	unsigned long propagation;     /* MS_SHARED …, with MS_REC; 0 = none */
	bool bind, rbind, tmpcopyup;
	const char *data[MOUNTOPT_DATA_MAX]; /* key, or key=value: for the file system itself */
	size_t data_cnt;
};

/* Adds option @s. -EINVAL with a sentence for one that is known and not possible here. */
int mountopt_add(struct mountopt *m, const char *s, struct err *e) MUST_CHECK;
/* "shared", "rslave", …: the MS_* flags, 0 if unknown. */
unsigned long mountopt_propagation(const char *s);

#endif
