/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The console device whose ports carry the agent's link: hvc0 for the kernel's words, husk.ctl and
 * husk.io for struct link. Loop thread.
 */
#ifndef HUSK_RUNTIME_AGENTLINK_H
#define HUSK_RUNTIME_AGENTLINK_H

#include "base/err.h"
#include "base/loop.h"
#include "mux/link.h"
#include "vmm/machine.h"

struct agentlink;

/*
 * Makes link and device and plugs the device into @m, which owns it from then on. @ops and @ctx are
 * the link's. The caller frees it after the machine.
 */
int agentlink_new(struct agentlink **ret, struct machine *m, struct loop *loop,
		  const struct link_ops *ops, void *ctx, struct err *e) MUST_CHECK;
void agentlink_free(struct agentlink *a);
struct link *agentlink_link(struct agentlink *a);
/* After calls that make output (requests, sends, credits): it goes out at the end of this round. */
void agentlink_flush(struct agentlink *a);
/* The end of what the guest's console said, for a message: printable, NUL-terminated. */
void agentlink_last_words(const struct agentlink *a, char *buf, size_t len);

#endif
