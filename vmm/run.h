/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `vmm run`: what was asked for (filled by cmd_run.c), and the run itself (run.c).
 */
#ifndef HUSK_VMM_RUN_H
#define HUSK_VMM_RUN_H

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "vmm/machine.h"

#define RUN_DEVS_MAX MACHINE_SLOTS_MAX

enum run_console { RUN_CONSOLE_STDIO, RUN_CONSOLE_NONE, RUN_CONSOLE_FILE };
enum run_report { RUN_REPORT_NONE, RUN_REPORT_TEXT, RUN_REPORT_JSON };

#define RUN_TAG_MAX	   36u /* virtio/devices.h: what a 9p tag may have */

#define RUN_NET_QUEUES_MAX 8u /* NET_QUEUES_MAX there */
#define RUN_PARTS_MAX	   128u
#define RUN_MTU_MIN	   68u /* virtio 1.2, 5.1.4 */

#define RUN_MEMORY	   (256ull << 20)

struct json_object;

struct run_pmem {
	const char *path;
	bool readonly, root;
	unsigned part; /* of the root: its partition; 0 = the whole image */
};
struct run_disk {
	const char *path, *serial;
	bool readonly, direct;
	bool spare; /* one of --spare-disk that has its image: for a saved machine */
};
struct run_share {
	const char *path, *tag;
	bool readonly;
};
struct run_net {
	const char *tap;
	const char *passt; /* its socket; "" = one of our own; NULL = a tap */
	uint8_t mac[6];
	bool has_mac;	 /* else one that the name gives */
	unsigned queues; /* 0 = 1 */
	unsigned mtu;	 /* 0 = the tap's */
};

/* Strings point into argv or the caller's own memory. */
struct run_config {
	const char *kernel, *initrd, *append;
	const char *restore; /* a saved machine's file, in place of a kernel */
	unsigned cpus;	     /* 0 = 1, or as it was saved */
	uint64_t memory;     /* 0 = RUN_MEMORY, or as it was saved */
	uint64_t memory_max; /* 0 = what it begins with */
	bool balloon;
	unsigned spare_disks;
	const char *control; /* path or name of its socket; NULL = none */
	enum machine_hw hw;
	bool serial;
	enum run_console console;
	const char *console_file;
	enum run_report report;
	struct run_pmem pmem[RUN_DEVS_MAX];
	struct run_disk disk[RUN_DEVS_MAX];
	struct run_share share[RUN_DEVS_MAX];
	struct run_net net[RUN_DEVS_MAX];
	unsigned pmem_cnt, disk_cnt, share_cnt, net_cnt;
	const char *name;
	struct json_object *kept; /* a configuration file's strings are in it; NULL = none */
};

/*
 * Runs it to its end. Returns the exit status of the process; messages have been printed. What @cfg leaves open is
 * filled in from the saved machine.
 */
int run_machine(struct run_config *cfg, struct report *report);

#endif
