/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `vmm run`: the command line. What it means is in run.c. The manual is docs/man/vmm.1.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>

#include "base/compiler.h"
#include "vmm/cmds.h"
#include "vmm/run_args.h"

static const struct option options[] = {
    {"kernel", required_argument, NULL, RUN_OPT_KERNEL},
    {"initrd", required_argument, NULL, RUN_OPT_INITRD},
    {"append", required_argument, NULL, RUN_OPT_APPEND},
    {"restore", required_argument, NULL, RUN_OPT_RESTORE},
    {"cpus", required_argument, NULL, RUN_OPT_CPUS},
    {"memory", required_argument, NULL, RUN_OPT_MEMORY},
    {"memory-max", required_argument, NULL, RUN_OPT_MEMORY_MAX},
    {"balloon", no_argument, NULL, RUN_OPT_BALLOON},
    {"spare-disk", required_argument, NULL, RUN_OPT_SPARE_DISK},
    {"control", required_argument, NULL, RUN_OPT_CONTROL},
    {"hw", required_argument, NULL, RUN_OPT_HW},
    {"disk", required_argument, NULL, RUN_OPT_DISK},
    {"share", required_argument, NULL, RUN_OPT_SHARE},
    {"pmem", required_argument, NULL, RUN_OPT_PMEM},
    {"net", required_argument, NULL, RUN_OPT_NET},
    {"console", required_argument, NULL, RUN_OPT_CONSOLE},
    {"serial", no_argument, NULL, RUN_OPT_SERIAL},
    {"boot-report", optional_argument, NULL, RUN_OPT_REPORT},
    {"name", required_argument, NULL, RUN_OPT_NAME},
    {"config", required_argument, NULL, 'C'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static const char help[] =
    "usage: vmm run -k FILE | --restore FILE [options]\n\n"
    "  -k, --kernel FILE                ELF vmlinux (64-bit entry or PVH) or bzImage\n"
    "  -i, --initrd FILE                initial RAM file system\n"
    "  -a, --append STRING              more words for the kernel command line\n"
    "  -c, --cpus N                     virtual CPUs (1)\n"
    "  -m, --memory SIZE                memory with suffix K, M or G (256M)\n"
    "      --memory-max SIZE            memory that it can be given while it runs\n"
    "      --balloon                    give memory that the guest frees back to the host\n"
    "      --hw fdt|mptable|auto        how the hardware is described (auto)\n"
    "      --disk FILE[,ro][,direct]    a raw image or block device\n"
    "      --spare-disk N               empty disks that 'vmm ctl add-disk' fills\n"
    "      --share DIR,tag=TAG[,ro]     a directory over 9p\n"
    "      --pmem FILE[,ro][,root[=pN]] persistent memory; root: the root file system\n"
    "      --net tap=NAME|passt[=SOCKET]    a network card on a tap, or without privileges\n"
    "      --console stdio|none|file=PATH   where hvc0 goes (stdio)\n"
    "      --serial                     a 16550A serial port (ttyS0) on stdio\n"
    "      --restore FILE               go on from what 'vmm ctl save' wrote; devices as they "
    "were\n"
    "      --control PATH|NAME          a socket for 'vmm ctl'\n"
    "      --boot-report[=json]         phases of the boot and exit counts on stderr\n"
    "      --config FILE                a JSON object with these options as keys\n"
    "      --name NAME                  for messages and the process\n\n"
    "--disk, --share, --pmem and --net may be given many times. 'man vmm' has more.\n";

/* Short options have the meaning of the long ones. */
static int opt_of(int c)
{
	switch (c) {
	case 'k':
		return RUN_OPT_KERNEL;
	case 'i':
		return RUN_OPT_INITRD;
	case 'a':
		return RUN_OPT_APPEND;
	case 'c':
		return RUN_OPT_CPUS;
	case 'm':
		return RUN_OPT_MEMORY;
	default:
		return c;
	}
}

enum pass { PASS_CONFIG, PASS_OPTIONS };

/* 0 = go on, 1 = help was asked for, negative = @e, or getopt has said what is wrong. */
static int parse(struct run_config *cfg, int argc, char **argv, enum pass pass, struct err *e)
{
	int c, rc = 0;

	optind = 1;
	opterr = pass == PASS_OPTIONS;
	while (rc == 0 && (c = getopt_long(argc, argv, "k:i:a:c:m:h", options, NULL)) != -1) {
		if (pass == PASS_CONFIG)
			rc = c == 'C' ? run_read_config(cfg, optarg, e) : 0;
		else if (c == 'h')
			return 1;
		else if (c == '?' || c == ':')
			return -EINVAL;
		else if (c != 'C')
			rc = run_set(cfg, (enum run_opt)opt_of(c), optarg, e);
	}
	if (rc == 0 && pass == PASS_OPTIONS && optind < argc)
		return err_set(e, -EINVAL, "unexpected argument '%s'", argv[optind]);
	return rc;
}

int cmd_run(int argc, char **argv)
{
	struct run_config cfg = {0};
	static char program[] = "vmm: run";
	struct report report = {0};
	struct err e = {0};
	int rc;

	report_stamp(&report, PHASE_EXEC);
	argv[0] = program; /* what getopt puts in front of its messages */
	/* The file first, so that the command line wins; lists add up. */
	rc = parse(&cfg, argc, argv, PASS_CONFIG, &e);
	if (rc == 0)
		rc = parse(&cfg, argc, argv, PASS_OPTIONS, &e);
	if (rc == 1) {
		fputs(help, stdout);
		return 0;
	}
	run_defaults(&cfg);
	if (rc == 0)
		rc = run_check(&cfg, &e);
	if (rc < 0) {
		fprintf(stderr, "vmm: run: %s\n", e.code ? e.msg : "see 'vmm run --help'");
		return 2;
	}
	return run_machine(&cfg, &report);
}
