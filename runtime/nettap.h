/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between an interface that an engine has plugged into the network name space and the guest's NIC.
 *
 *   tc       a tap; whatever comes in at the interface is redirected to it, and the other way round.
 *            The interface keeps name, MAC and addresses; the engine sees no difference.
 *            Answers to sockets in the name space reach them (netown.h).
 *   bridge   a bridge of the interface and a tap
 *   macvtap  a macvtap in passthru mode on top of the interface: no bridge, no filter
 *   none     the guest gets no NIC
 *
 * Taps go with their descriptors. What an engine's interface keeps of us (an ingress qdisc), bridges
 * and macvtaps go with nettap_unplug(), or nettap_sweep() where nobody was left to do that.
 *
 * Functions of no state. Network watcher's thread; nettap_sweep() also by `husk delete`. All of
 * them act in the name space that @sk was opened in.
 */
#ifndef HUSK_RUNTIME_NETTAP_H
#define HUSK_RUNTIME_NETTAP_H

#include <netlink/netlink.h>
#include "base/err.h"
#include "runtime/netscan.h"

enum net_model { NET_TC, NET_BRIDGE, NET_MACVTAP, NET_NONE };

#define NETTAP_QUEUES_MAX 8u

struct nettap_env {
	struct nl_sock *sk;
	int proc_fd; /* /proc/self/fd */
	int tun_fd;  /* O_PATH of /dev/net/tun: opened anew for each queue */
	int dev_fd;  /* /dev, for macvtap's nodes; -1 with other models */
	int own_fd; /* netown_load(); -1: the name space's sockets get no answers and lead nowhere */
	enum net_model model;
	unsigned queues;   /* 1.. of each NIC */
	const char *owner; /* container ID: whose taps they are */
};

/*
 * Joins interface @l to new descriptors, one for each queue: a tap of O_NONBLOCK, IFF_NO_PI and
 * IFF_VNET_HDR. 0; -EBUSY when another microVM has it; -ENODEV when it went away meanwhile; else
 * -errno; always with a sentence, and nothing left.
 */
int nettap_plug(const struct nettap_env *env, const struct netscan_link *l, int *fds,
		struct err *e) MUST_CHECK;
/* The interface's MTU has changed: its tap follows. */
int nettap_follow(const struct nettap_env *env, const struct netscan_link *l,
		  struct err *e) MUST_CHECK;
/* Takes back what lies on the engine's interface, which may be gone. */
void nettap_unplug(const struct nettap_env *env, int ifindex);
/* lo gets the program that hands connections to the guest (forward.h); needs env->own_fd. All models. */
int nettap_plug_lo(const struct nettap_env *env, struct err *e) MUST_CHECK;
void nettap_unplug_lo(const struct nettap_env *env);
/*
 * Takes back what sandboxes that are dead, @owner's among them, have left in the name space: filters
 * and bridges whose tap is gone or @owner's, macvtaps of @owner. 0 or -errno.
 */
int nettap_sweep(struct nl_sock *sk, const char *owner) MUST_CHECK;
/*
 * The same in the name space at @path, entered for that time by the calling thread, which must be
 * the only one. One that is not there any more needs no sweeping.
 */
void nettap_sweep_path(const char *path, const char *owner);

/* A connected NETLINK_ROUTE socket of the calling thread's name space; NULL with a sentence. */
struct nl_sock *nettap_socket(struct err *e);

#endif
