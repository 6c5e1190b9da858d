/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plans and rounds of a benchmark. See bench.h.
 */
#include "vmm/bench.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "vmm/bench_stat.h"

static const struct {
	const char *key, *text;
} marks[BENCH_MARKS - PHASE_COUNT] = {
    {"output_seen", "first output byte seen"},
    {"created", "create had returned"},
    {"started", "start had returned"},
    {"end", "process gone"},
};

static const char *const counts[BENCH_COUNTS - REPORT_EXIT_COUNT] = {
    "cpu_us", "pss_beyond_ram_kib", "guest_ram_kib", "guest_memory_kib", "guest_free_kib"};

const char *bench_mark_key(unsigned mark)
{
	return mark < PHASE_COUNT ? report_phase_key(mark) : marks[mark - PHASE_COUNT].key;
}

const char *bench_mark_text(unsigned mark)
{
	return mark < PHASE_COUNT ? report_phase_text(mark) : marks[mark - PHASE_COUNT].text;
}

const char *bench_count_key(unsigned count)
{
	return count < REPORT_EXIT_COUNT ? report_exit_key(count)
					 : counts[count - REPORT_EXIT_COUNT];
}

/* ---- plans ----------------------------------------------------------------------------------- */

struct bench_subject *bench_add(struct bench_plan *p, const char *name, struct err *e)
{
	struct bench_subject *s = &p->subject[p->subjects];

	if (p->subjects == BENCH_SUBJECTS_MAX) {
		err_set(e, -ENOSPC, "peer '%s': more than %u subjects", name, BENCH_SUBJECTS_MAX);
		return NULL;
	}
	*s = (struct bench_subject){.name = strdup(name)};
	if (!s->name) {
		err_set(e, -ENOMEM, "out of memory");
		return NULL;
	}
	p->subjects++;
	return s;
}

int bench_words_v(char ***argv, char *const *words)
{
	size_t have = 0, more = 0;
	char **grown;

	while (*argv && (*argv)[have])
		have++;
	while (words[more])
		more++;
	grown = realloc(*argv, (have + more + 1) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	*argv = grown;
	for (size_t i = 0; i <= more; i++)
		grown[have + i] = NULL;
	for (size_t i = 0; i < more; i++) {
		grown[have + i] = strdup(words[i]);
		if (!grown[have + i])
			return -ENOMEM;
	}
	return 0;
}

int bench_words(char ***argv, ...)
{
	va_list ap;
	int rc = 0;

	va_start(ap, argv);
	for (;;) {
		char *one[2] = {va_arg(ap, char *), NULL};

		if (!one[0] || rc < 0)
			break;
		rc = bench_words_v(argv, one);
	}
	va_end(ap);
	return rc;
}

void bench_free_words(char **argv)
{
	for (size_t i = 0; argv && argv[i]; i++)
		free(argv[i]);
	free(argv);
}

void bench_plan_free(struct bench_plan *p)
{
	for (unsigned i = 0; i < p->subjects; i++) {
		struct bench_subject *s = &p->subject[i];

		for (unsigned k = 0; k < BENCH_STEPS; k++)
			bench_free_words(s->step[k]);
		bench_free_words(s->before);
		bench_free_words(s->after);
		bench_free_words(s->prepare);
		bench_free_words(s->undo);
		free(s->run);
		free(s->name);
	}
	p->subjects = 0;
}

/* Is there such a program in PATH? */
static bool is_installed(const char *program)
{
	const char *dirs = getenv("PATH");
	char path[PATH_MAX];

	while (dirs && *dirs) {
		size_t len = strcspn(dirs, ":");

		(void)snprintf(path, sizeof(path), "%.*s/%s", (int)len, dirs, program);
		if (len && access(path, X_OK) == 0)
			return true;
		dirs += len + (dirs[len] == ':');
	}
	return false;
}

/* ---- rounds ---------------------------------------------------------------------------------- */

struct lane {
	const struct bench_plan *p;
	const struct bench_subject *s;
	unsigned id;
	bool memory;
	struct bench_run *to;
	struct err e;
	int rc;
	pthread_t thread;
};

static void *lane_main(void *arg)
{
	struct lane *l = arg;
	struct err ignored = {0};

	if (l->s->before)
		l->rc = bench_exec_aside(l->p, l->s->before, l->id, &l->e);
	if (l->rc == 0)
		l->rc = bench_exec(l->p, l->s, l->id, l->memory, l->to, &l->e);
	if (l->s->after &&
	    bench_exec_aside(l->p, l->s->after, l->id, l->rc == 0 ? &l->e : &ignored) < 0 &&
	    l->rc == 0)
		l->rc = l->e.code;
	return NULL;
}

/* @n runs of @s at the same time, their results to @to. */
static int run_lanes(const struct bench_plan *p, const struct bench_subject *s, unsigned *next_id,
		     unsigned n, bool memory, struct bench_run *to, struct err *e)
{
	auto_free struct lane *l = calloc(n, sizeof(*l));
	unsigned started = 0;
	int rc = l ? 0 : -ENOMEM;

	for (; rc == 0 && started < n; started++) {
		l[started] = (struct lane){
		    .p = p, .s = s, .id = (*next_id)++, .memory = memory, .to = &to[started]};
		if (n == 1)
			(void)lane_main(&l[0]);
		else
			rc = -pthread_create(&l[started].thread, NULL, lane_main, &l[started]);
		if (rc < 0)
			break;
	}
	for (unsigned i = 0; i < started; i++) {
		if (n > 1)
			(void)pthread_join(l[i].thread, NULL);
		if (l[i].rc < 0 && rc == 0)
			rc = err_set(e, l[i].rc, "%s", l[i].e.msg);
	}
	return rc < 0 ? err_sys(e, rc, "%s", s->name) : 0;
}

static void progress(const struct bench_plan *p, FILE *tty, unsigned done, unsigned of,
		     const char *name, uint64_t since)
{
	unsigned width = 30, full = of ? done * width / of : 0;
	double s = (double)(clock_ns() - since) / 1e9;

	if (!tty)
		return;
	(void)fprintf(tty, "\r\033[K%s [", p->what);
	for (unsigned i = 0; i < width; i++)
		(void)fputc(i < full ? '#' : '.', tty);
	(void)fprintf(tty, "] %u/%u  %.0f s  %s", done, of, s, name);
	if (done == of)
		(void)fputs("\r\033[K", tty);
	(void)fflush(tty);
}

static int one_round(struct bench_plan *p, unsigned round, unsigned *next_id, FILE *tty,
		     uint64_t since, struct err *e)
{
	unsigned rounds = p->warm_up + (p->runs + p->parallel - 1) / p->parallel;
	bool warm = round < p->warm_up;
	unsigned from = warm ? 0 : (round - p->warm_up) * p->parallel;
	unsigned n = warm ? 1 : MIN(p->parallel, p->runs - from);
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < p->subjects; i++) {
		/* Whoever comes first in a round finds other caches than who comes second. */
		struct bench_subject *s = &p->subject[(i + round) % p->subjects];
		struct bench_run unused;

		if (s->absent)
			continue;
		progress(p, tty, round * p->subjects + i, rounds * p->subjects, s->name, since);
		rc = run_lanes(p, s, next_id, n, false, warm ? &unused : &s->run[from], e);
		if (!warm)
			s->ok = from + n;
	}
	return rc;
}

/* More runs of each, in which /proc is looked at: that takes time, so they are not measured. */
static int look_at_memory(struct bench_plan *p, unsigned *next_id, struct err *e)
{
	unsigned runs = MIN(p->runs, BENCH_MEMORY_RUNS);
	int rc = 0;

	for (unsigned n = 0; n < runs * p->subjects && rc == 0; n++) {
		struct bench_subject *s = &p->subject[n % p->subjects];
		struct bench_run *to = &s->run[n / p->subjects], r = {0};

		if (!s->ram || s->absent)
			continue;
		rc = run_lanes(p, s, next_id, 1, true, &r, e);
		to->count[BENCH_PSS_KIB] = r.count[BENCH_PSS_KIB];
		to->count[BENCH_RAM_KIB] = r.count[BENCH_RAM_KIB];
	}
	return rc;
}

int bench_run_plan(struct bench_plan *p, FILE *tty, struct err *e)
{
	unsigned rounds = p->warm_up + (p->runs + p->parallel - 1) / p->parallel;
	unsigned next_id = 1, prepared = 0;
	uint64_t since = clock_ns();
	struct err ignored = {0};
	int rc = 0;

	p->create_vm_ns = bench_create_vm();
	for (unsigned i = 0; i < p->subjects; i++) {
		struct bench_subject *s = &p->subject[i];

		s->absent = s->optional && !is_installed(s->step[s->steps - 1][0]);
		s->run = calloc(p->runs, sizeof(struct bench_run));
		if (!s->run)
			return err_set(e, -ENOMEM, "out of memory");
	}
	for (; rc == 0 && prepared < p->subjects; prepared++)
		if (p->subject[prepared].prepare && !p->subject[prepared].absent)
			rc = bench_exec_aside(p, p->subject[prepared].prepare, 0, e);
	for (unsigned i = 0; rc == 0 && i < rounds; i++)
		rc = one_round(p, i, &next_id, tty, since, e);
	if (rc == 0 && p->memory)
		rc = look_at_memory(p, &next_id, e);
	progress(p, tty, 1, 1, "", since);
	for (unsigned i = 0; i < prepared; i++)
		if (p->subject[i].undo && !p->subject[i].absent &&
		    bench_exec_aside(p, p->subject[i].undo, 0, &ignored) < 0 && rc == 0)
			rc = err_set(e, ignored.code, "%s", ignored.msg);
	return rc;
}

/* ---- statistics ------------------------------------------------------------------------------ */

void bench_mark_stat(const struct bench_plan *p, const struct bench_subject *s, unsigned mark,
		     struct bench_stat *ret)
{
	auto_free double *v = calloc(p->runs, sizeof(*v));
	size_t n = 0;

	for (unsigned i = 0; v && i < s->ok; i++)
		if (s->run[i].at[mark])
			v[n++] = (double)s->run[i].at[mark];
	bench_stat(v, n, ret);
}

void bench_count_stat(const struct bench_plan *p, const struct bench_subject *s, unsigned count,
		      struct bench_stat *ret)
{
	auto_free double *v = calloc(p->runs, sizeof(*v));
	size_t n = 0;

	for (unsigned i = 0; v && i < s->ok; i++)
		if (s->run[i].count[count] != BENCH_NONE)
			v[n++] = (double)s->run[i].count[count];
	bench_stat(v, n, ret);
}

void bench_ratio_stat(const struct bench_plan *p, const struct bench_subject *s, unsigned mark,
		      struct bench_stat *ret)
{
	const struct bench_subject *first = &p->subject[0];
	auto_free double *v = calloc(p->runs, sizeof(*v));
	size_t n = 0;

	for (unsigned i = 0; v && i < s->ok && i < first->ok; i++)
		if (s->run[i].at[mark] && first->run[i].at[mark])
			v[n++] = (double)first->run[i].at[mark] / (double)s->run[i].at[mark];
	bench_stat(v, n, ret);
}
