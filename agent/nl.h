/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rtnetlink, as much of it as the agent needs: messages that are put together in place, sent one at
 * a time, and acknowledged (netlink(7), rtnetlink(7)). No state; any thread or child.
 */
#ifndef HUSK_AGENT_NL_H
#define HUSK_AGENT_NL_H

#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

#define NLM_MAX 4096u

/* One message. What does not fit sets @full, and nl_talk() refuses it then. */
struct nlm {
	union {
		struct nlmsghdr head;
		uint8_t raw[NLM_MAX];
	};
	size_t len;
	bool full;
};

/* @flags beside NLM_F_REQUEST and NLM_F_ACK; @body is the fixed part behind the header. */
void nlm_begin(struct nlm *m, uint16_t type, uint16_t flags, const void *body, size_t len);
void nlm_raw(struct nlm *m, const void *data,
	     size_t len); /* aligned, without a header of its own */
void nlm_put(struct nlm *m, uint16_t type, const void *data, size_t len);
void nlm_put_u32(struct nlm *m, uint16_t type, uint32_t v);
void nlm_put_str(struct nlm *m, uint16_t type, const char *s);
/* An attribute of attributes; what is put until nlm_end(m, the value returned) is inside. */
size_t nlm_nest(struct nlm *m, uint16_t type);
void nlm_end(struct nlm *m, size_t at);

/*
 * Looks through what a socket gave for the acknowledgement of @seq. Returns 1 and the kernel's
 * answer (0 or -errno) in *ret, 0 when it is not there, -EBADMSG when a length is wrong.
 */
int nl_find_ack(const void *buf, size_t len, uint32_t seq, int *ret) MUST_CHECK;

int nl_open(void) MUST_CHECK; /* NETLINK_ROUTE; descriptor or -errno */
/* Sends @m and waits for its acknowledgement: 0 or -errno, which is the kernel's or our own. */
int nl_talk(int fd, struct nlm *m) MUST_CHECK;

#endif
