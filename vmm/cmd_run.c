/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `vmm run`: the command line. What it means is in run.c. The manual is docs/man/vmm.1.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "vmm/cmds.h"
#include "vmm/run.h"

enum {
	OPT_HW = 256,
	OPT_SERIAL,
	OPT_CONSOLE,
	OPT_REPORT,
	OPT_PMEM,
	OPT_NAME,
};

static const struct option options[] = {
	{"kernel", required_argument, NULL, 'k'},
	{"initrd", required_argument, NULL, 'i'},
	{"append", required_argument, NULL, 'a'},
	{"cpus", required_argument, NULL, 'c'},
	{"memory", required_argument, NULL, 'm'},
	{"hw", required_argument, NULL, OPT_HW},
	{"serial", no_argument, NULL, OPT_SERIAL},
	{"console", required_argument, NULL, OPT_CONSOLE},
	{"boot-report", optional_argument, NULL, OPT_REPORT},
	{"pmem", required_argument, NULL, OPT_PMEM},
	{"name", required_argument, NULL, OPT_NAME},
	{"help", no_argument, NULL, 'h'},
	{0},
};

static const char help[] =
	"usage: vmm run -k FILE [options]\n\n"
	"  -k, --kernel FILE     ELF vmlinux (64-bit entry or PVH) or bzImage\n"
	"  -i, --initrd FILE     initial RAM file system\n"
	"  -a, --append STRING   more words for the kernel command line\n"
	"  -c, --cpus N          virtual CPUs (1)\n"
	"  -m, --memory SIZE     memory with suffix K, M or G (256M)\n"
	"      --hw fdt|mptable|auto        how the hardware is described (auto)\n"
	"      --pmem FILE[,ro][,root]      persistent memory; root: the root file system\n"
	"      --console stdio|none|file=PATH   where hvc0 goes (stdio)\n"
	"      --serial          a 16550A serial port (ttyS0) on stdio\n"
	"      --boot-report[=json]         phases of the boot and exit counts on stderr\n"
	"      --name NAME       for messages\n";

static int usage_error(const char *what, const char *value)
{
	fprintf(stderr, "vmm: run: %s '%s'; see 'vmm run --help'\n", what, value);
	return -EINVAL;
}

/* A size with an optional suffix; megabytes without one. */
static int parse_size(const char *s, uint64_t *ret)
{
	unsigned shift = 20;
	uint64_t v;
	char *end;

	errno = 0;
	v = strtoull(s, &end, 10);
	if (errno || end == s || *s < '0' || *s > '9')
		return -EINVAL;
	switch (*end) {
	case 'K':
	case 'k':
		shift = 10;
		end++;
		break;
	case 'M':
	case 'm':
		end++;
		break;
	case 'G':
	case 'g':
		shift = 30;
		end++;
		break;
	default:
		break;
	}
	if (*end || v > UINT64_MAX >> shift)
		return -EINVAL;
	*ret = v << shift;
	return 0;
}

static int parse_cpus(const char *s, unsigned *ret)
{
	unsigned long v;
	char *end;

	errno = 0;
	v = strtoul(s, &end, 10);
	if (errno || *end || *s < '0' || *s > '9' || v > MACHINE_CPUS_MAX)
		return -EINVAL;
	*ret = (unsigned)v;
	return 0;
}

static int parse_hw(const char *s, enum machine_hw *ret)
{
	if (!strcmp(s, "fdt"))
		*ret = MACHINE_HW_FDT;
	else if (!strcmp(s, "mptable"))
		*ret = MACHINE_HW_MPTABLE;
	else if (!strcmp(s, "auto"))
		*ret = MACHINE_HW_AUTO;
	else
		return -EINVAL;
	return 0;
}

static int parse_console(struct run_config *cfg, const char *s)
{
	if (!strcmp(s, "stdio")) {
		cfg->console = RUN_CONSOLE_STDIO;
	} else if (!strcmp(s, "none")) {
		cfg->console = RUN_CONSOLE_NONE;
	} else if (!strncmp(s, "file=", 5) && s[5]) {
		cfg->console = RUN_CONSOLE_FILE;
		cfg->console_file = s + 5;
	} else {
		return -EINVAL;
	}
	return 0;
}

/* FILE[,ro][,root]: cuts the argument up in place. */
static int parse_pmem(struct run_config *cfg, char *s)
{
	struct run_pmem *p = &cfg->pmem[cfg->pmem_cnt];
	char *rest = s;

	if (cfg->pmem_cnt == RUN_DEVS_MAX)
		return -EINVAL;
	*p = (struct run_pmem){.path = strsep(&rest, ",")};
	while (rest) {
		const char *word = strsep(&rest, ",");

		if (!strcmp(word, "ro"))
			p->readonly = true;
		else if (!strcmp(word, "root"))
			p->root = true;
		else
			return -EINVAL;
	}
	cfg->pmem_cnt++;
	return p->path[0] ? 0 : -EINVAL;
}

static int parse_one(struct run_config *cfg, int opt, char *arg)
{
	switch (opt) {
	case 'k':
		cfg->kernel = arg;
		return 0;
	case 'i':
		cfg->initrd = arg;
		return 0;
	case 'a':
		cfg->append = arg;
		return 0;
	case 'c':
		return parse_cpus(arg, &cfg->cpus) ? usage_error("bad number of CPUs", arg) : 0;
	case 'm':
		return parse_size(arg, &cfg->memory) ? usage_error("bad memory size", arg) : 0;
	case OPT_HW:
		return parse_hw(arg, &cfg->hw) ? usage_error("--hw takes fdt, mptable or auto, not", arg) : 0;
	case OPT_SERIAL:
		cfg->serial = true;
		return 0;
	case OPT_CONSOLE:
		return parse_console(cfg, arg) ?
			       usage_error("--console takes stdio, none or file=PATH, not", arg) :
			       0;
	case OPT_REPORT:
		if (arg && strcmp(arg, "json") != 0)
			return usage_error("--boot-report takes json or nothing, not", arg);
		cfg->report = arg ? RUN_REPORT_JSON : RUN_REPORT_TEXT;
		return 0;
	case OPT_PMEM:
		return parse_pmem(cfg, arg) ? usage_error("--pmem takes FILE[,ro][,root], not", arg) : 0;
	case OPT_NAME:
		cfg->name = arg;
		return 0;
	default: /* getopt has said what is wrong */
		fprintf(stderr, "see 'vmm run --help'\n");
		return -EINVAL;
	}
}

int cmd_run(int argc, char **argv)
{
	struct run_config cfg = {.cpus = 1, .memory = 256ull << 20, .append = ""};
	static char program[] = "vmm: run";
	struct report report = {0};
	int opt;

	report_stamp(&report, PHASE_EXEC);
	argv[0] = program; /* what getopt puts in front of its messages */
	while ((opt = getopt_long(argc, argv, "k:i:a:c:m:h", options, NULL)) != -1) {
		if (opt == 'h') {
			fputs(help, stdout);
			return 0;
		}
		if (parse_one(&cfg, opt, optarg) < 0)
			return 2;
	}
	if (optind < argc) {
		fprintf(stderr, "vmm: run: unexpected argument '%s'\n", argv[optind]);
		return 2;
	}
	if (!cfg.kernel) {
		fprintf(stderr, "vmm: run: no kernel given; see 'vmm run --help'\n");
		return 2;
	}
	return run_machine(&cfg, &report);
}
