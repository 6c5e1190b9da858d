/* SPDX-License-Identifier: Apache-2.0 */
/*
 * User and time name spaces of a container (config-linux.md: uidMappings, gidMappings,
 * timeOffsets). In the child.
 *
 * The other name spaces have to belong to the container's user name space, but what fills them (9p,
 * device nodes, foreign limits) takes the rights of the agent. So a helper process is born in all of
 * them; the child, with the agent's rights still, joins its mount, ipc, uts and cgroup name spaces
 * and builds the container there, with the file ids of the container's root; last of all it joins
 * the user name space, and the helper goes.
 *
 * Ids: a file's owner on 9p is the host's number, and so is the kernel's of the guest. A mapping's
 * hostID therefore means the same on both sides of the VM.
 */
#ifndef HUSK_AGENT_USERNS_H
#define HUSK_AGENT_USERNS_H

#include "agent/child.h"

/* The kernel's id for the container's @id; -1 where it is not mapped. Without a mapping: itself. */
uint32_t userns_kuid(const struct spec *s, uint32_t id);
uint32_t userns_kgid(const struct spec *s, uint32_t id);

/* Nothing to do without a user name space. Joins all but the user name space. */
int userns_begin(struct child *ch, struct err *e) MUST_CHECK;
/* Joins it: from here on ids and capabilities are the container's. Also for EXECCMD. */
int userns_join(struct child *ch, struct err *e) MUST_CHECK;

/* A time name space with its offsets, entered. Needs the agent's procfs. */
int timens_enter(const struct spec *s, struct err *e) MUST_CHECK;

#endif
