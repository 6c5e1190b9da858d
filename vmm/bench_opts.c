/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options that every bench has, and what is done with a plan by them. See bench.h.
 */
#include "vmm/bench.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RUNS_MAX     100000u
#define PARALLEL_MAX 1024u
#define TIMEOUT_MAX  86400u

const char bench_opts_help[] =
    "  -n, --runs N           measured runs of each subject (10)\n"
    "      --warm-up N        runs before them that do not count (1)\n"
    "      --parallel N       so many at the same time (1)\n"
    "      --peer NAME[=CMD]  a peer in the same rounds; CMD: any command line\n"
    "      --until TEXT       the output that is awaited (the first byte)\n"
    "      --memory-use       five more runs of each, to look at memory\n"
    "      --timeout SECONDS  for one run (120)\n"
    "      --json             one JSON object instead of the table\n"
    "      --csv FILE         one line a run as well\n"
    "      --svg FILE         a picture as well\n"
    "      --quiet            no progress\n";

static int number(const char *name, const char *arg, unsigned min, unsigned max, unsigned *ret,
		  struct err *e)
{
	unsigned long v;
	char *end;

	errno = 0;
	v = strtoul(arg, &end, 10);
	if (errno || *end || *arg < '0' || *arg > '9' || v < min || v > max)
		return err_set(e, -EINVAL, "--%s takes a number from %u to %u, not '%s'", name, min,
			       max, arg);
	*ret = (unsigned)v;
	return 1;
}

int bench_opt(struct bench_opts *o, const char *name, const char *arg, struct err *e)
{
	const struct {
		const char *name;
		unsigned *to;
		unsigned min, max;
	} numbers[] = {{"runs", &o->runs, 1, RUNS_MAX},
		       {"warm-up", &o->warm_up, 0, RUNS_MAX},
		       {"parallel", &o->parallel, 1, PARALLEL_MAX},
		       {"timeout", &o->timeout_s, 1, TIMEOUT_MAX}};
	const struct {
		const char *name;
		const char **to;
	} words[] = {{"csv", &o->csv}, {"svg", &o->svg}, {"until", &o->until}};
	const struct {
		const char *name;
		bool *to;
	} flags[] = {{"memory-use", &o->memory}, {"json", &o->json}, {"quiet", &o->quiet}};

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		if (!strcmp(name, numbers[i].name))
			return number(name, arg, numbers[i].min, numbers[i].max, numbers[i].to, e);
	for (size_t i = 0; i < ARRAY_LEN(flags); i++)
		if (!strcmp(name, flags[i].name)) {
			*flags[i].to = true;
			return 1;
		}
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (!strcmp(name, words[i].name)) {
			*words[i].to = arg;
			return *arg ? 1 : err_set(e, -EINVAL, "--%s: empty", name);
		}
	if (strcmp(name, "peer") != 0)
		return 0;
	if (o->peers == BENCH_SUBJECTS_MAX - 1)
		return err_set(e, -ENOSPC, "--peer: more than %u", BENCH_SUBJECTS_MAX - 1);
	o->peer[o->peers++] = arg;
	return 1;
}

static int to_file(const struct bench_plan *p, const char *path,
		   void (*print)(const struct bench_plan *, FILE *), struct err *e)
{
	FILE *f;
	int rc = 0;

	if (!path)
		return 0;
	f = fopen(path, "we");
	if (!f)
		return err_sys(e, -errno, "'%s'", path);
	print(p, f);
	if (ferror(f))
		rc = -EIO;
	if (fclose(f) != 0 && rc == 0)
		rc = -errno;
	return rc < 0 ? err_sys(e, rc, "'%s'", path) : 0;
}

int bench_main(struct bench_plan *p, const struct bench_opts *o, struct err *e)
{
	FILE *tty = !o->quiet && isatty(STDERR_FILENO) ? stderr : NULL;
	int rc;

	p->until = o->until;
	p->runs = o->runs;
	p->warm_up = o->warm_up;
	p->parallel = MIN(o->parallel, o->runs);
	p->timeout_s = o->timeout_s;
	p->memory = o->memory;
	rc = bench_run_plan(p, tty, e);
	if (rc < 0)
		return rc;
	if (!o->json)
		bench_print_table(p, stdout);
	else if (bench_print_json(p, stdout) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	rc = to_file(p, o->csv, bench_print_csv, e);
	if (rc == 0)
		rc = to_file(p, o->svg, bench_print_svg, e);
	return rc;
}
