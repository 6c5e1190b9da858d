/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network watcher: the one thread of a sandbox process that keeps CAP_NET_ADMIN. It joins the
 * interfaces of the sandbox's network name space to taps, tells the loop what is there, and again
 * whenever something changes: engines plug at create, between create and start, and while the
 * container runs, and nobody calls us for the last of these.
 *
 *   netwatch_new -> netwatch_begin (the guest is up) -> news() ... -> netwatch_free
 *
 * The thread sleeps until begin(). Changes come in bursts, so it waits until it has been quiet for a
 * moment before it reads the name space again, and tells only what differs. The kernel queues what
 * changes before the call that changes it returns: who finds nothing queued and the thread idle
 * (netwatch_is_current()) has been told all there is.
 */
#ifndef HUSK_RUNTIME_NETWATCH_H
#define HUSK_RUNTIME_NETWATCH_H

#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/list.h"
#include "base/loop.h"
#include "runtime/json.h"
#include "runtime/nettap.h"

struct netwatch;

struct netwatch_nic {
	int ifindex;
	char name[IFNAMSIZ];
	uint8_t mac[6];
	int fds[NETTAP_QUEUES_MAX]; /* owned by whoever gets the news; -1 = taken */
	unsigned queues;
};

/* The name space as it is now. */
struct netwatch_news {
	struct list node;
	bool asked;	/* what netwatch_begin() wanted */
	struct err err; /* of an interface that could not be plugged in; else code 0 */
	/* SETUPINTERFACE with "ifindex" in the place of "device"; NULL: it could not be read. */
	struct json_object *doc;
	struct netwatch_nic *nic; /* new ones, in doc by their ifindex */
	size_t nic_cnt;
	/* Or, without anything else: an answer to netwatch_ask(). */
	uint32_t answer_id; /* 0 = none */
	uint8_t *answer;
	size_t answer_len;
};

struct netwatch_config {
	int proc_fd; /* /proc/self/fd; stays the caller's */
	int tun_fd;  /* O_PATH of /dev/net/tun; the watcher's, on failure too; -1 = there is none */
	int dev_fd;  /* O_PATH of /dev, for macvtap; the watcher's; -1 */
	int own_fd;  /* of netown_load(); the watcher's; -1 */
	bool forward; /* lo's connections go to the guest (forward.h) */
	enum net_model model;
	unsigned queues;
	const char *owner; /* container ID; outlives the watcher */
	/* First thing in the thread. */
	int (*thread_init)(void *ctx, struct err *e);
	/* Loop thread. The callee frees them with netwatch_news_free(). */
	void (*news)(void *ctx, struct netwatch_news *n);
	void *ctx;
};

/*
 * Opens its sockets in the caller's name space and starts the thread; the caller still has
 * CAP_NET_ADMIN. Returns when thread_init() has been called.
 */
int netwatch_new(struct netwatch **ret, struct loop *loop, const struct netwatch_config *cfg,
		 struct err *e) MUST_CHECK;
/* Interfaces that are there now; for the number of slots. 0 when that cannot be told. */
unsigned netwatch_count(struct netwatch *w);
/*
 * Any thread: plug in what is there, tell, and go on watching. News that say so come at once; each
 * call after those of the last one gives one more.
 */
void netwatch_begin(struct netwatch *w);
/* Loop thread: has everything been told that had changed when this was called? */
bool netwatch_is_current(struct netwatch *w);
/* A question to the embedded name server (netdns.h). One too many is dropped. Loop thread. */
void netwatch_ask(struct netwatch *w, uint32_t id, bool tcp, const void *msg, size_t len);
/* Takes everything back and ends the thread. NULL is fine. Loop thread. */
void netwatch_free(struct netwatch *w);

void netwatch_news_free(struct netwatch_news *n);

#endif
