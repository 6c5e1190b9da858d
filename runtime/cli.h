/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The husk command: a table of verbs, each with its options and its function. A verb gets its words
 * (no options among them) and returns the exit status; what went wrong is in @e and printed once,
 * by the dispatcher, to stderr and to --log.
 */
#ifndef HUSK_RUNTIME_CLI_H
#define HUSK_RUNTIME_CLI_H

#include <stdbool.h>
#include "base/err.h"
#include "runtime/config.h"
#include "runtime/opts.h"
#include "runtime/update_spec.h"
#include "vmm/report.h"

struct cli_global {
	const char *root, *log, *log_format, *criu, *rootless, *assets, *config;
	bool debug, systemd_cgroup, version, help;
	int log_fd;	       /* -1 = none */
	struct report *report; /* shared with the sandbox process */
	struct config conf;    /* cli_config() */
	bool has_conf;
};

/* Options of all verbs; a verb's table names those that it has. */
struct cli_opts {
	const char *bundle, *pid_file, *pidfd_socket, *console_socket, *preserve_fds, *boot_report,
	    *format;
	const char *process, *cwd, *user, *process_label, *apparmor, *cgroup;
	struct opt_values env, gids, caps, peer;
	bool tty, no_new_privs, ignore_paused;
	const char *runs, *warm_up, *parallel, *until, *timeout, *csv, *svg; /* bench */
	const char *resources, *interval;
	struct update_flags update;
	bool stats;
	bool no_pivot, no_new_keyring, detach, keep, no_subreaper, force, all, quiet, rootless,
	    json, help;
};

struct cli {
	struct cli_global *g;
	struct cli_opts o;
	int argc; /* words after the verb */
	char **argv;
	int status; /* what a failure exits with; 0 = 1 */
};

/*
 * The configuration in force, read at the first call, and the log set up as it says; it lives as
 * long as @g. For verbs that make or judge something, see config.h.
 */
int cli_config(struct cli_global *g, const struct config **ret, struct err *e) MUST_CHECK;

/* The whole program. @start_ns: the clock at main()'s first instruction. */
int husk_main(int argc, char **argv, uint64_t start_ns);

/* Verbs. 0 or an exit status, or a negative code with the sentence in @e. */
int cmd_create(struct cli *c, struct err *e);
int cmd_run(struct cli *c, struct err *e);
int cmd_start(struct cli *c, struct err *e);
int cmd_exec(struct cli *c, struct err *e);
int cmd_state(struct cli *c, struct err *e);
int cmd_kill(struct cli *c, struct err *e);
int cmd_delete(struct cli *c, struct err *e);
int cmd_ps(struct cli *c, struct err *e);
int cmd_pause(struct cli *c, struct err *e);
int cmd_resume(struct cli *c, struct err *e);
int cmd_update(struct cli *c, struct err *e);
int cmd_events(struct cli *c, struct err *e);
int cmd_list(struct cli *c, struct err *e);
int cmd_spec(struct cli *c, struct err *e);
int cmd_features(struct cli *c, struct err *e);
int cmd_husk_check(struct cli *c, struct err *e); /* cmd_check is the vmm command's */
int cmd_env(struct cli *c, struct err *e);
int cmd_husk_bench(struct cli *c, struct err *e);

#endif
