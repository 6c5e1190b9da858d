/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.devices: which of them the guest has itself, which become disks of the VM, which cannot be
 * had. A block device of the host is opened here and given to the guest as virtio-blk; the agent
 * makes its node with the guest's numbers. The caller (husk create, before the fork) owns the
 * descriptors.
 *
 * A container that may use every device (privileged) is given all of the host's by its engine. It
 * gets those that the guest has; the host's others are left out, its disks as well: who may be root
 * on the guest should not be so on the host's disks by a flag that means something else.
 */
#ifndef HUSK_RUNTIME_DISKS_H
#define HUSK_RUNTIME_DISKS_H

#include <stdbool.h>

#include "base/err.h"
#include "runtime/spec.h"

#define DISKS_MAX 8

struct disk {
	int fd;
	bool readonly;
	const char *path; /* in the container; the document's */
	char access[4];	  /* what the device rules allow: "rwm", "r", ""; */
};

struct disks {
	struct disk v[DISKS_MAX];
	unsigned cnt;
};

/*
 * Takes what the guest is not to make itself out of the document's linux.devices. -ENOTSUP for a
 * device of the host that cannot cross, by name. Close with disks_close() also after a failure.
 */
int disks_open(struct spec *s, struct disks *ret, struct err *e) MUST_CHECK;
void disks_close(struct disks *d);

/* Does the guest's kernel have this character device under the same numbers? Pure. */
bool disks_guest_has(int64_t major, int64_t minor);
/* May the container use everything? The last rule about all devices decides. Pure, as the next. */
bool disks_is_privileged(const struct spec *s);
/* What linux.resources.devices allows for one device: a string of "rwm". */
void disks_access(const struct spec *s, char type, int64_t major, int64_t minor, char ret[4]);

#endif
