/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox process: the container's stand-in on the host and its VMM. `husk create` forks it
 * while single-threaded; it is born in steps (sandbox.c), lives on the loop (box.c), and exits with
 * the container's status.
 *
 * Until the CLI has committed, the two talk over a SOCK_SEQPACKET pair, and either one's death
 * undoes everything: the CLI cleans up when the child dies, the child cleans up when the CLI does.
 *
 *   child                                CLI
 *   cgroup, network and mount namespace
 *   SAY_BORN --------------------------> hooks prestart, createRuntime
 *       <------------------------------- SAY_GO_ON
 *   mount tree, hooks createContainer, entry point, pivot, VM
 *   state.json says created
 *   SAY_READY -------------------------> pid file
 *       <------------------------------- SAY_COMMIT, and the CLI returns
 */
#ifndef HUSK_RUNTIME_SANDBOX_H
#define HUSK_RUNTIME_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include "base/err.h"
#include "runtime/assets.h"
#include "runtime/disks.h"
#include "runtime/cgroup.h"
#include "runtime/nettap.h"
#include "runtime/sizing.h"
#include "runtime/spec.h"
#include "runtime/state.h"
#include "virtio/devices.h"
#include "vmm/report.h"

enum say { SAY_BORN = 'B', SAY_READY = 'R', SAY_FAILED = 'F', SAY_GO_ON = 'G', SAY_COMMIT = 'C' };

struct say_msg {
	char what;  /* enum say */
	int status; /* SAY_FAILED: what the CLI exits with */
	int code;   /* SAY_FAILED: -errno */
	char text[1024];
};

struct sandbox_args {
	const char *root; /* of the state directories */
	const struct spec *spec;
	struct assets assets;
	char *seccomp;		   /* base64 of the program; NULL = none */
	struct state state;	   /* owned here; pid and status are filled in by the child */
	int state_dir;		   /* the CLI's, locked: the child opens its own */
	int chan;		   /* the child's end */
	int log_fd;		   /* -1 = none */
	struct sizing size;	   /* of the VM */
	struct cgroup cgroup;	   /* owned here */
	struct cglimits limits;	   /* of it */
	struct disks disks;	   /* the CLI's descriptors, and the child's copies */
	const char *kernel_params; /* appended to the command line; "" */
	struct {
		enum net_model model;
		struct net_limit rx, tx; /* of each NIC */
	} net;
	bool balloon; /* free memory of the guest goes back to the host */
	struct report *report;
	int tty_fd;   /* a terminal: the container's has its size. -1 = the container has none */
	bool tty_own; /* tty_fd is a pty of ours: stdin, stdout, and our controlling terminal */
};

/* The child's whole life after the fork. Returns its exit status. */
int sandbox_main(struct sandbox_args *a);

#endif
