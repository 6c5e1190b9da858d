/* SPDX-License-Identifier: Apache-2.0 */
/* The husk command's table of verbs and its dispatcher. See cli.h. */
#include "runtime/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/fd.h"
#include "base/log.h"
#include "runtime/info.h"
#include "runtime/state.h"

#define O(field) offsetof(struct cli_opts, field)
#define G(field) offsetof(struct cli_global, field)
#define OPT_HELP                                                                                   \
	{                                                                                          \
		"help", 'h', OPT_FLAG, O(help), NULL, NULL                                         \
	}
#define OPT_END                                                                                    \
	{                                                                                          \
		0                                                                                  \
	}

#define CREATE_OPTS                                                                                 \
	{"bundle", 'b', OPT_VALUE, O(bundle), "DIR", "the bundle (default: here)"},                 \
	    {"pid-file", 0, OPT_VALUE, O(pid_file), "FILE", "write the container's pid there"},     \
	    {"pidfd-socket", 0, OPT_VALUE, O(pidfd_socket), "PATH", "send a pidfd of it there"},    \
	    {"console-socket", 0, OPT_VALUE, O(console_socket), "PATH", "send the terminal there"}, \
	    {"no-pivot", 0, OPT_FLAG, O(no_pivot), NULL, "refused: the root is always pivoted"},    \
	    {"no-new-keyring",	0,    OPT_FLAG,                                                     \
	     O(no_new_keyring), NULL, "accepted: keyrings are the guest's"},                        \
	{                                                                                           \
		"preserve-fds", 0, OPT_VALUE, O(preserve_fds), "N",                                 \
		    "only 0: descriptors do not cross into a VM"                                    \
	}

static const struct opt create_opts[] = {
    CREATE_OPTS,
    {"detach", 'd', OPT_FLAG, O(detach), NULL, "accepted: create always returns"},
    OPT_HELP,
    OPT_END,
};
static const struct opt run_opts[] = {
    CREATE_OPTS,
    {"detach", 'd', OPT_FLAG, O(detach), NULL, "return once it runs"},
    {"keep", 0, OPT_FLAG, O(keep), NULL, "do not delete it after its end"},
    {"no-subreaper", 0, OPT_FLAG, O(no_subreaper), NULL, "accepted: none is needed"},
    {"boot-report", 0, OPT_MAYBE, O(boot_report), "json", "print the phase table at the end"},
    OPT_HELP,
    OPT_END,
};
static const struct opt exec_opts[] = {
    {"process", 'p', OPT_VALUE, O(process), "FILE", "the process, as config.json has it"},
    {"cwd", 0, OPT_VALUE, O(cwd), "DIR", "working directory"},
    {"env", 'e', OPT_EACH, O(env), "NAME=VALUE", "add to the environment"},
    {"tty", 't', OPT_FLAG, O(tty), NULL, "with a terminal"},
    {"user", 'u', OPT_VALUE, O(user), "UID[:GID]", "user and group, in numbers"},
    {"additional-gids", 'g', OPT_EACH, O(gids), "GID", "one more group"},
    {"cap", 'c', OPT_EACH, O(caps), "CAP", "one more capability"},
    {"no-new-privs", 0, OPT_FLAG, O(no_new_privs), NULL, "set no_new_privs"},
    {"detach", 'd', OPT_FLAG, O(detach), NULL, "return once it runs"},
    {"pid-file", 0, OPT_VALUE, O(pid_file), "FILE", "write the pid of its stand-in there"},
    {"pidfd-socket", 0, OPT_VALUE, O(pidfd_socket), "PATH", "send a pidfd of it there"},
    {"console-socket", 0, OPT_VALUE, O(console_socket), "PATH", "send the terminal there"},
    {"ignore-paused", 0, OPT_FLAG, O(ignore_paused), NULL, "in a paused container, too"},
    {"preserve-fds", 0, OPT_VALUE, O(preserve_fds), "N", "only 0"},
    {"process-label", 0, OPT_VALUE, O(process_label), "LABEL", "refused: no SELinux there"},
    {"apparmor", 0, OPT_VALUE, O(apparmor), "PROFILE", "refused: no AppArmor there"},
    {"cgroup", 0, OPT_VALUE, O(cgroup), "PATH", "only /, the container's"},
    OPT_HELP,
    OPT_END,
};
static const struct opt kill_opts[] = {
    {"all", 'a', OPT_FLAG, O(all), NULL, "to all processes of the container"},
    OPT_HELP,
    OPT_END,
};
static const struct opt delete_opts[] = {
    {"force", 'f', OPT_FLAG, O(force), NULL, "kill it first; fine when it does not exist"},
    OPT_HELP,
    OPT_END,
};
static const struct opt ps_opts[] = {
    {"format", 'f', OPT_VALUE, O(format), "FORMAT",
     "table (default), or json: the host's pids that stand for it"},
    OPT_HELP,
    OPT_END,
};
#define U(field) offsetof(struct cli_opts, update.field)
static const struct opt update_opts[] = {
    {"resources", 'r', OPT_VALUE, O(resources), "FILE", "linux.resources as JSON; - is stdin"},
    {"memory", 0, OPT_VALUE, U(memory), "BYTES", "limit; 64m, 1g, -1 for none"},
    {"memory-reservation", 0, OPT_VALUE, U(memory_reservation), "BYTES",
     "kept for it under pressure"},
    {"memory-swap", 0, OPT_VALUE, U(memory_swap), "BYTES", "limit of memory and swap together"},
    {"cpu-period", 0, OPT_VALUE, U(cpu_period), "US", "in which the quota counts"},
    {"cpu-quota", 0, OPT_VALUE, U(cpu_quota), "US", "CPU time in each period; -1 for no limit"},
    {"cpu-share", 0, OPT_VALUE, U(cpu_share), "N", "weight: 1024 is usual"},
    {"cpu-burst", 0, OPT_VALUE, U(cpu_burst), "US", "quota that may be saved up"},
    {"cpu-idle", 0, OPT_VALUE, U(cpu_idle), "N", "1: only when nothing else wants the CPU"},
    {"cpuset-cpus", 0, OPT_VALUE, U(cpuset_cpus), "LIST", "the host's CPUs that it may use"},
    {"cpuset-mems", 0, OPT_VALUE, U(cpuset_mems), "LIST", "the host's memory nodes"},
    {"blkio-weight", 0, OPT_VALUE, U(blkio_weight), "N", "of its I/O on the host, 10 to 1000"},
    {"pids-limit", 0, OPT_VALUE, U(pids_limit), "N", "processes; -1 for no limit"},
    {"cpu-rt-period", 0, OPT_VALUE, U(cpu_rt_period), "US", NULL},
    {"cpu-rt-runtime", 0, OPT_VALUE, U(cpu_rt_runtime), "US", NULL},
    {"kernel-memory", 0, OPT_VALUE, U(kernel_memory), "BYTES", NULL},
    {"kernel-memory-tcp", 0, OPT_VALUE, U(kernel_memory_tcp), "BYTES", NULL},
    {"l3-cache-schema", 0, OPT_VALUE, U(l3_cache_schema), "SCHEMA", NULL},
    {"mem-bw-schema", 0, OPT_VALUE, U(mem_bw_schema), "SCHEMA", NULL},
    OPT_HELP,
    OPT_END,
};
static const struct opt events_opts[] = {
    {"stats", 0, OPT_FLAG, O(stats), NULL, "print the figures once and end"},
    {"interval", 0, OPT_VALUE, O(interval), "TIME", "between figures (5s)"},
    OPT_HELP,
    OPT_END,
};
static const struct opt list_opts[] = {
    {"format", 'f', OPT_VALUE, O(format), "FORMAT", "table (default) or json"},
    {"quiet", 'q', OPT_FLAG, O(quiet), NULL, "ids only"},
    OPT_HELP,
    OPT_END,
};
static const struct opt spec_opts[] = {
    {"bundle", 'b', OPT_VALUE, O(bundle), "DIR", "where to write it (default: here)"},
    {"rootless", 0, OPT_FLAG, O(rootless), NULL, "refused: husk needs root"},
    OPT_HELP,
    OPT_END,
};
static const struct opt report_opts[] = {
    {"json", 0, OPT_FLAG, O(json), NULL, "one JSON object instead of text"},
    OPT_HELP,
    OPT_END,
};
static const struct opt bench_opts[] = {
    {"bundle", 'b', OPT_VALUE, O(bundle), "DIR", "what to run (a small program of husk's own)"},
    {"runs", 'n', OPT_VALUE, O(runs), "N", "measured runs of each subject (10)"},
    {"warm-up", 0, OPT_VALUE, O(warm_up), "N", "runs before them that do not count (1)"},
    {"parallel", 0, OPT_VALUE, O(parallel), "N", "so many at the same time (1)"},
    {"peer", 0, OPT_EACH, O(peer), "NAME[=PROG]", "crun, runc, ... in the same rounds"},
    {"until", 0, OPT_VALUE, O(until), "TEXT", "the output that is awaited (the first byte)"},
    {"timeout", 0, OPT_VALUE, O(timeout), "SECONDS", "for one run (120)"},
    {"json", 0, OPT_FLAG, O(json), NULL, "one JSON object instead of the table"},
    {"csv", 0, OPT_VALUE, O(csv), "FILE", "one line a run as well"},
    {"svg", 0, OPT_VALUE, O(svg), "FILE", "a picture as well"},
    {"quiet", 'q', OPT_FLAG, O(quiet), NULL, "no progress"},
    OPT_HELP,
    OPT_END,
};
static const struct opt no_opts[] = {OPT_HELP, OPT_END};

static const struct verb {
	const char *name;
	int (*fn)(struct cli *c, struct err *e); /* NULL = a later version's */
	const char *args, *help;
	const struct opt *opts;
} verbs[] = {
    {"create", cmd_create, "[options] ID", "make a container; its VM boots meanwhile", create_opts},
    {"start", cmd_start, "ID", "run the process of a created container", no_opts},
    {"run", cmd_run, "[options] ID", "create, start, wait, delete", run_opts},
    {"exec", cmd_exec, "[options] ID [COMMAND ARG...]", "run a process in a container", exec_opts},
    {"state", cmd_state, "ID", "print a container's state as JSON", no_opts},
    {"kill", cmd_kill, "[options] ID [SIGNAL]", "send a signal (TERM)", kill_opts},
    {"delete", cmd_delete, "[options] ID", "remove what an ended container leaves", delete_opts},
    {"ps", cmd_ps, "[options] ID [PS-OPTION...]", "list a container's processes", ps_opts},
    {"pause", cmd_pause, "ID", "stop a container's guest for a while", no_opts},
    {"resume", cmd_resume, "ID", "let a paused container go on", no_opts},
    {"update", cmd_update, "[options] ID", "change a container's limits", update_opts},
    {"events", cmd_events, "[options] ID", "figures of a container, and when memory runs out",
     events_opts},
    {"list", cmd_list, "[options]", "list the containers of this root", list_opts},
    {"spec", cmd_spec, "[options]", "write a config.json to start from", spec_opts},
    {"features", cmd_features, "", "print what is supported as JSON", no_opts},
    {"bench", cmd_husk_bench, "[options] run|create-start|exec [COMMAND...]",
     "how long starts take, phase by phase, beside other runtimes", bench_opts},
    {"check", cmd_husk_check, "[options]", "find out whether this host can run husk", report_opts},
    {"env", cmd_env, "[options]", "print versions, paths and settings", report_opts},
    {"checkpoint", NULL, NULL, NULL, NULL},
    {"restore", NULL, NULL, NULL, NULL},
    {"template", NULL, NULL, NULL, NULL},
    {"proxy", NULL, NULL, NULL, NULL},
};

static const struct opt global_opts[] = {
    {"root", 0, OPT_VALUE, G(root), "DIR", "state directory (" STATE_ROOT ")"},
    {"log", 0, OPT_VALUE, G(log), "FILE", "log file"},
    {"log-format", 0, OPT_VALUE, G(log_format), "FORMAT", "text (default) or json"},
    {"debug", 0, OPT_FLAG, G(debug), NULL, "log more"},
    {"systemd-cgroup", 0, OPT_FLAG, G(systemd_cgroup), NULL,
     "cgroups are scopes of systemd: slice:prefix:name"},
    {"config", 0, OPT_VALUE, G(config), "FILE", "configuration (" CONFIG_PATH ")"},
    {"assets", 0, OPT_VALUE, G(assets), "DIR", "where vmlinux and rootfs.erofs are"},
    {"criu", 0, OPT_VALUE, G(criu), "PATH", "accepted, unused: nothing here needs criu"},
    {"rootless", 0, OPT_VALUE, G(rootless), "BOOL", "accepted: auto or false; true is refused"},
    {"version", 'v', OPT_FLAG, G(version), NULL, "print the version"},
    {"help", 'h', OPT_FLAG, G(help), NULL, "print this"},
    OPT_END,
};

static void usage(FILE *f)
{
	(void)fprintf(f, "usage: husk [global options] COMMAND [options] [ID]\n\n"
			 "Runs OCI containers, each in a microVM of its own.\n\ncommands:\n");
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (verbs[i].fn)
			(void)fprintf(f, "  %-10s %s\n", verbs[i].name, verbs[i].help);
	(void)fprintf(f, "\nglobal options:\n");
	opts_help(f, global_opts);
	(void)fprintf(f, "\nhusk COMMAND --help describes a command.\n");
}

static const struct verb *verb_of(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (!strcmp(verbs[i].name, name))
			return &verbs[i];
	return NULL;
}

static void verb_help(const struct verb *v)
{
	(void)printf("usage: husk %s%s%s\n\n%s\n", v->name, *v->args ? " " : "", v->args, v->help);
	if (v->opts != no_opts) {
		(void)printf("\noptions:\n");
		opts_help(stdout, v->opts);
	}
}

static int open_log(struct cli_global *g, struct err *e)
{
	bool json = false;

	if (g->log_format) {
		json = !strcmp(g->log_format, "json");
		if (!json && strcmp(g->log_format, "text") != 0)
			return err_set(e, -EINVAL,
				       "option --log-format: expected text or json, not '%s'",
				       g->log_format);
	}
	if (g->log && *g->log) {
		g->log_fd = open(g->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
		if (g->log_fd < 0)
			return err_sys(e, -errno, "log file '%s'", g->log);
	}
	log_setup(&(struct log_config){
	    .program = "husk",
	    .file_fd = g->log_fd,
	    .json = json,
	    .level = g->debug ? LOG_LVL_DEBUG : LOG_LVL_INFO,
	    .stderr_level = g->debug ? LOG_LVL_DEBUG : LOG_LVL_WARN,
	});
	return 0;
}

int cli_config(struct cli_global *g, const struct config **ret, struct err *e)
{
	if (!g->has_conf) {
		struct log_config log = *log_current();
		int rc = config_load(&g->conf, g->config, e);

		if (rc < 0)
			return rc;
		g->has_conf = true;
		/* --debug asks for more than any file. */
		if (!g->debug)
			log.level =
			    g->conf.debug ? LOG_LVL_DEBUG : (enum log_level)g->conf.log_level;
		log_setup(&log);
	}
	*ret = &g->conf;
	return 0;
}

static int check_globals(const struct cli_global *g, struct err *e)
{
	if (g->rootless && !strcmp(g->rootless, "true"))
		return err_set(e, -ENOTSUP, "--rootless=true: not supported: husk needs root");
	if (g->rootless && strcmp(g->rootless, "auto") != 0 && strcmp(g->rootless, "false") != 0)
		return err_set(e, -EINVAL,
			       "option --rootless: expected auto, true or false, not '%s'",
			       g->rootless);
	if (!*g->root)
		return err_set(e, -EINVAL, "option --root: empty");
	return 0;
}

static int run_verb(struct cli_global *g, int argc, char **argv, struct err *e)
{
	const struct verb *v = verb_of(argv[0]);
	auto_free char **words = calloc((size_t)argc + 1, sizeof(*words));
	struct cli c = {.g = g, .argv = words};
	int rc;

	if (!words)
		return err_set(e, -ENOMEM, "out of memory");
	if (!strcmp(argv[0], "help")) {
		usage(stdout);
		return 0;
	}
	if (!v)
		return err_set(e, -EINVAL, "unknown command '%s'; see 'husk --help'", argv[0]);
	if (!v->fn)
		return err_set(e, -ENOTSUP, "husk %s: not supported yet", v->name);
	/* Behind the ID there are words of somebody else's. */
	c.argc =
	    opts_parse(argc, argv, v->opts, &c.o, v->fn == cmd_exec || v->fn == cmd_ps, words, e);
	if (c.argc < 0) {
		err_wrap(e, "%s", v->name);
		return c.argc;
	}
	if (c.o.help) {
		verb_help(v);
		return 0;
	}
	rc = v->fn(&c, e);
	return rc < 0 && c.status ? c.status : rc;
}

int husk_main(int argc, char **argv, uint64_t start_ns)
{
	struct cli_global g = {.root = STATE_ROOT, .log_fd = -1};
	auto_free char **words = calloc((size_t)argc + 1, sizeof(*words));
	struct err e = {0};
	int n, rc;

	if (fd_fill_stdio() < 0) {
		(void)fprintf(stderr, "husk: /dev/null: %s\n", strerror(errno));
		return 1;
	}
	/* Ignored by whoever started us, it would take the exit statuses of our children with it. */
	(void)signal(SIGCHLD, SIG_DFL);
	/* One page that the sandbox process and its CLI both see. */
	g.report = mmap(NULL, sizeof(*g.report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	if (!words || g.report == MAP_FAILED) {
		(void)fprintf(stderr, "husk: out of memory\n");
		return 1;
	}
	report_stamp_at(g.report, PHASE_EXEC, start_ns);
	n = opts_parse(argc, argv, global_opts, &g, true, words, &e);
	if (n >= 0 && g.version) {
		info_version(stdout);
		return 0;
	}
	if (n >= 0 && g.help) {
		usage(stdout);
		return 0;
	}
	rc = n < 0 ? n : open_log(&g, &e);
	if (rc == 0)
		rc = check_globals(&g, &e);
	if (rc == 0 && n == 0) {
		usage(stderr);
		return 1;
	}
	if (rc == 0)
		rc = run_verb(&g, n, words, &e);
	if (e.code)
		log_err("%s", e.msg);
	fd_close(&g.log_fd);
	config_free(&g.conf);
	return rc < 0 ? 1 : rc;
}
