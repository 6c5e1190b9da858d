/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `vmm bench boot`: how long a guest takes to its first output, phase by phase, beside other VMMs.
 * The measured machine is what `vmm run` makes of the same options. The manual is docs/man/vmm.1.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "vmm/bench.h"
#include "vmm/bench_peer.h"
#include "vmm/cmds.h"
#include "vmm/run_args.h"

/* Those that are handed on to `vmm run` as they are, and our own (no value: 0). */
enum { HAND_ON = 1, OURS, HELP };

static const struct option options[] = {
    {"kernel", required_argument, NULL, 'k'},
    {"initrd", required_argument, NULL, 'i'},
    {"append", required_argument, NULL, 'a'},
    {"cpus", required_argument, NULL, 'c'},
    {"memory", required_argument, NULL, 'm'},
    {"hw", required_argument, NULL, HAND_ON},
    {"disk", required_argument, NULL, HAND_ON},
    {"share", required_argument, NULL, HAND_ON},
    {"pmem", required_argument, NULL, HAND_ON},
    {"net", required_argument, NULL, HAND_ON},
    {"serial", no_argument, NULL, HAND_ON},
    {"console", required_argument, NULL, HAND_ON},
    {"runs", required_argument, NULL, 'n'},
    {"warm-up", required_argument, NULL, OURS},
    {"parallel", required_argument, NULL, OURS},
    {"peer", required_argument, NULL, OURS},
    {"until", required_argument, NULL, OURS},
    {"memory-use", no_argument, NULL, OURS},
    {"timeout", required_argument, NULL, OURS},
    {"json", no_argument, NULL, OURS},
    {"csv", required_argument, NULL, OURS},
    {"svg", required_argument, NULL, OURS},
    {"quiet", no_argument, NULL, OURS},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static const char help[] =
    "usage: vmm bench boot -k FILE [options]\n\n"
    "Boots the guest again and again and shows where the time goes to its first output.\n\n"
    "  -k -i -a -c -m         kernel, initrd, append, cpus, memory (128M): as 'vmm run' has them\n"
    "      --hw --disk --share --pmem --net --serial --console   as 'vmm run' has them\n";
static const char help_end[] =
    "\nPeers: qemu, firecracker, cloud-hypervisor, kvmtool, or NAME=COMMAND with {kernel},\n"
    "{initrd}, {memory}, {cpus}, {append}. 'man vmm' has more.\n";

struct bench_boot {
	struct bench_plan p;
	struct bench_opts o;
	struct bench_guest g;
	struct run_config run; /* cpus and memory, as 'vmm run' reads them */
	char **handed_on;      /* for `vmm run` */
	char dir[64];
};

static int take(struct bench_boot *b, int c, const char *name, const char *arg, struct err *e)
{
	auto_free char *word = NULL;
	int rc;

	switch (c) {
	case 'k':
		b->g.kernel = arg;
		return 0;
	case 'i':
		b->g.initrd = arg;
		return 0;
	case 'a':
		b->g.append = arg;
		return 0;
	case 'c':
		return run_set(&b->run, RUN_OPT_CPUS, (char *)(uintptr_t)arg, e);
	case 'm':
		return run_set(&b->run, RUN_OPT_MEMORY, (char *)(uintptr_t)arg, e);
	case 'n':
		name = "runs";
		FALLTHROUGH;
	case OURS:
		rc = bench_opt(&b->o, name, arg, e);
		return rc < 0 ? rc : 0;
	default:
		break;
	}
	b->g.serial |= !strcmp(name, "serial");
	if (asprintf(&word, "--%s%s%s", name, arg ? "=" : "", arg ? arg : "") < 0)
		return err_set(e, -ENOMEM, "out of memory");
	return bench_words(&b->handed_on, word, NULL);
}

/* 0, 1 for help, negative with @e or after getopt's own words. */
static int parse(struct bench_boot *b, int argc, char **argv, struct err *e)
{
	int c, index = 0, rc = 0;

	while (rc == 0 && (c = getopt_long(argc, argv, "k:i:a:c:m:n:h", options, &index)) != -1) {
		if (c == 'h')
			return 1;
		if (c == '?' || c == ':')
			return -EINVAL;
		rc = take(b, c, options[index].name, optarg, e);
	}
	if (rc == 0 && optind < argc)
		rc = err_set(e, -EINVAL, "unexpected argument '%s'", argv[optind]);
	if (rc == 0 && !b->g.kernel)
		rc = err_set(e, -EINVAL, "no kernel given; see 'vmm bench boot --help'");
	return rc;
}

/* ---- subjects --------------------------------------------------------------------------------- */

static int add_number(char ***argv, const char *name, uint64_t v, const char *unit)
{
	char word[48];

	(void)snprintf(word, sizeof(word), "--%s=%llu%s", name, (unsigned long long)v, unit);
	return bench_words(argv, word, NULL);
}

/* What `vmm run` would do, by this very program. */
static int add_ours(struct bench_boot *b, struct err *e)
{
	struct bench_subject *s = bench_add(&b->p, "vmm", e);
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	int rc;

	if (!s)
		return e->code;
	if (n < 0)
		return err_sys(e, -errno, "/proc/self/exe");
	self[n] = '\0';
	s->steps = 1;
	s->stop = SIGTERM;
	s->tells = BENCH_TELLS_REPORT;
	s->ram = b->g.memory;
	rc = bench_words(&s->step[0], self, "run", "--boot-report=json", "--kernel", b->g.kernel,
			 "--append", b->g.append, NULL);
	if (rc == 0 && b->g.initrd)
		rc = bench_words(&s->step[0], "--initrd", b->g.initrd, NULL);
	if (rc == 0)
		rc = add_number(&s->step[0], "cpus", b->g.cpus, "");
	if (rc == 0)
		rc = add_number(&s->step[0], "memory", b->g.memory >> 10, "K");
	if (rc == 0 && b->handed_on)
		rc = bench_words_v(&s->step[0], b->handed_on);
	return rc < 0 ? err_sys(e, rc, "vmm") : 0;
}

static int add_subjects(struct bench_boot *b, struct err *e)
{
	int rc = add_ours(b, e);

	for (unsigned i = 0; rc == 0 && i < b->o.peers; i++)
		rc = bench_peer_add(&b->p, b->o.peer[i], &b->g, b->dir, e);
	return rc;
}

static int bench_boot(struct bench_boot *b, struct err *e)
{
	auto_free char *config = NULL;
	int rc;

	(void)snprintf(b->dir, sizeof(b->dir), "/tmp/vmm-bench.XXXXXX");
	if (!mkdtemp(b->dir))
		return err_sys(e, -errno, "'%s'", b->dir);
	rc = add_subjects(b, e);
	if (rc == 0)
		rc = bench_main(&b->p, &b->o, e);
	if (asprintf(&config, "%s/firecracker.json", b->dir) >= 0)
		(void)unlink(config);
	(void)rmdir(b->dir);
	return rc;
}

int cmd_bench(int argc, char **argv)
{
	struct bench_boot b = {.p.what = "boot",
			       .o = {.runs = 10, .warm_up = 1, .parallel = 1, .timeout_s = 120},
			       .g.append = "",
			       .run = {.cpus = 1, .memory = 128ull << 20}};
	static char program[] = "vmm: bench";
	struct err e = {0};
	int rc;

	if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
		printf("%s%s%s", help, bench_opts_help, help_end);
		return 0;
	}
	if (argc < 2 || strcmp(argv[1], "boot") != 0) {
		fprintf(stderr, "vmm: bench: what? 'vmm bench boot' is what there is\n");
		return 2;
	}
	argv[1] = program; /* what getopt puts in front of its messages */
	rc = parse(&b, argc - 1, argv + 1, &e);
	if (rc == 1)
		printf("%s%s%s", help, bench_opts_help, help_end);
	b.g.cpus = b.run.cpus;
	b.g.memory = b.run.memory;
	if (rc == 0)
		rc = bench_boot(&b, &e);
	else if (rc < 0)
		argc = -1; /* misuse */
	if (rc < 0)
		fprintf(stderr, "vmm: bench: %s\n", e.code ? e.msg : "see 'vmm bench --help'");
	bench_plan_free(&b.p);
	bench_free_words(b.handed_on);
	return rc >= 0 ? 0 : argc < 0 ? 2 : 1;
}
