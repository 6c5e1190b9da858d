/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vmm program: a table of verbs. What a verb does is in its own file (cmds.h).
 */
#include <stdio.h>
#include <string.h>
#include "base/compiler.h"
#include "base/fd.h"
#include "base/log.h"
#include "vmm/cmds.h"

static int cmd_help(int argc, char **argv);

static const struct {
	const char *name;
	int (*fn)(int argc, char **argv);
	const char *help;
} verbs[] = {
    {"run", cmd_run, "boot a kernel"},
    {"bench", cmd_bench, "how long a boot takes, phase by phase, beside other VMMs"},
    {"ctl", cmd_ctl, "ask or change a running machine"},
    {"check", cmd_check, "find out whether this host can run guests"},
    {"help", cmd_help, "this list, or 'help COMMAND': the command's options"},
};

static void usage(FILE *f)
{
	fprintf(f, "usage: vmm <command> [options]\n\ncommands:\n");
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		fprintf(f, "  %-10s %s\n", verbs[i].name, verbs[i].help);
	fprintf(f, "\nvmm <command> --help describes a command; vmm --version the program.\n");
}

static int cmd_help(int argc, char **argv)
{
	char flag[] = "--help";
	char *of_verb[] = {argc > 1 ? argv[1] : NULL, flag, NULL};

	if (argc > 2) {
		fprintf(stderr, "vmm: help: unexpected argument '%s'\n", argv[2]);
		return 2;
	}
	if (argc == 1 || !strcmp(argv[1], "help") || !strcmp(argv[1], "--help")) {
		usage(stdout);
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		if (!strcmp(argv[1], verbs[i].name))
			return verbs[i].fn(2, of_verb);
	}
	fprintf(stderr, "vmm: help: unknown command '%s'\n", argv[1]);
	return 2;
}

int main(int argc, char **argv)
{
	if (fd_fill_stdio() < 0)
		return 1;
	log_setup(&(struct log_config){
	    .program = "vmm", .file_fd = -1, .level = LOG_LVL_INFO, .stderr_level = LOG_LVL_WARN});
	if (argc < 2) {
		usage(stderr);
		return 2;
	}
	if (!strcmp(argv[1], "--version")) {
		printf("vmm version " HUSK_VERSION "\n");
		return 0;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return cmd_help(1, argv);
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		if (!strcmp(argv[1], verbs[i].name))
			return verbs[i].fn(argc - 1, argv + 1);
	}
	fprintf(stderr, "vmm: unknown command '%s'; see 'vmm help'\n", argv[1]);
	return 2;
}
