/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's half of Docker's embedded name server for a guest (agent/dns.h): questions go to
 * 127.0.0.11:53 of the sandbox's network name space, where dockerd's rules lead them on, by UDP or
 * TCP as they came. The guest chooses what is in a question, never where it goes. Network watcher's
 * thread.
 */
#ifndef HUSK_RUNTIME_NETDNS_H
#define HUSK_RUNTIME_NETDNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <poll.h>
#include <sys/types.h>
#include "base/compiler.h"

#define NETDNS_OPEN_MAX	  64u	 /* questions under way; the oldest makes room */
#define NETDNS_TCP_MAX	  8u	 /* of them by TCP */
#define NETDNS_LEN_MAX	  4096u	 /* bytes of a question */
#define NETDNS_ANSWER_MAX 65535u /* of an answer: RFC 1035, 4.2.2 */
#define NETDNS_POLLS	  (1 + NETDNS_TCP_MAX)

struct netdns_tcp {
	int fd; /* -1 = free */
	uint32_t id;
	bool sent;
	size_t have;  /* of the question to be sent, or of the answer */
	uint8_t *msg; /* 2 bytes of length, then the message; room for the longest */
};

struct netdns {
	int fd; /* a UDP socket; -1 = none */
	uint16_t seq;
	struct {
		uint16_t seq, orig; /* the message's own number, ours and the guest's */
		uint32_t id;	    /* the agent's; 0 = free */
	} open[NETDNS_OPEN_MAX];
	struct netdns_tcp tcp[NETDNS_TCP_MAX];
	unsigned next_tcp; /* the oldest */
	uint8_t buf[NETDNS_ANSWER_MAX];
};

void netdns_init(struct netdns *d);	      /* nothing is open: netdns_close() is allowed */
int netdns_open(struct netdns *d) MUST_CHECK; /* in the caller's name space; 0 or -errno */
void netdns_close(struct netdns *d);
/* Does the container's /etc/resolv.conf name 127.0.0.11? By @proc_fd (/proc/self/fd), after the pivot. */
bool netdns_is_used(int proc_fd);
/* The same for a text. */
bool netdns_is_in(const char *resolv_conf);
/* @msg is changed. What is no question, or cannot be sent, is dropped: resolvers ask again. */
void netdns_ask(struct netdns *d, uint32_t id, uint8_t *msg, size_t len);
void netdns_ask_tcp(struct netdns *d, uint32_t id, const uint8_t *msg, size_t len);
/* What to wait for; fills NETDNS_POLLS places. */
void netdns_polls(const struct netdns *d, struct pollfd *p);
/* The next answer that is one of ours, in d->buf: its length and the agent's id; 0 = none now. */
size_t netdns_answer(struct netdns *d, uint32_t *ret_id);

#endif
