/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The name space's own packets. With tc, all that comes in at an interface goes to the guest, but some
 * of it may answer a socket of the host's in the same name space: Docker's name server asks servers
 * outside from there. A BPF program for a classifier (bpf-helpers(7), tc-bpf(8)) finds out: it says
 * TC_ACT_OK for what belongs to a connected socket of the name space, and TC_ACT_UNSPEC, which is the
 * next filter, for the rest. A socket that only listens gets nothing: the ports are the guest's.
 *
 * On lo the same program hands connections to ports where nobody listens to the sandbox's socket, which
 * leads them into the guest (forward.h): engines dial the name space's own addresses. It is found by
 * NETOWN_ADDR or ::1 and NETOWN_PORT. Other addresses of 127/8 are left alone, the name server's
 * among them.
 *
 * No state. Made while there are rights to load programs, used by the network watcher.
 */
#ifndef HUSK_RUNTIME_NETOWN_H
#define HUSK_RUNTIME_NETOWN_H

#include "base/compiler.h"

#define NETOWN_LO   1 /* the index of lo in every name space: the kernel's LOOPBACK_IFINDEX */
#define NETOWN_ADDR 0x7f687573u /* 127.'h'.'u'.'s' */
#define NETOWN_PORT 26741u	/* "hu" */

/* A descriptor of the program, or -errno where the kernel has no such thing or allows none. */
int netown_load(void) MUST_CHECK;

#endif
