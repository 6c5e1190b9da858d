/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A benchmark's results as a table, JSON and CSV. See bench.h.
 */
#include "vmm/bench.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>

#include "vmm/bench_stat.h"

/* Returns of KVM_RUN and what a process is charged: averages mean little, medians do. */
static const struct {
	unsigned count;
	const char *text, *unit;
	double scale;
} shown[] = {
    {REPORT_IO, "returns of KVM_RUN: I/O", "", 1},
    {REPORT_MMIO, "returns of KVM_RUN: MMIO", "", 1},
    {REPORT_INTR, "returns of KVM_RUN: signal", "", 1},
    {BENCH_CPU_US, "CPU time, the guest's in it", " ms", 1000},
    {BENCH_PSS_KIB, "memory (PSS) beyond the guest's", " KiB", 1},
    {BENCH_RAM_KIB, "guest memory present", " KiB", 1},
    {BENCH_GUEST_KIB, "guest memory, by its own kernel", " KiB", 1},
    {BENCH_GUEST_FREE_KIB, "free of it when the agent answered", " KiB", 1},
};

/* ---- table ----------------------------------------------------------------------------------- */

static void print_marks(const struct bench_plan *p, const struct bench_subject *s, FILE *f)
{
	unsigned order[BENCH_MARKS], n = 0;
	struct bench_stat st[BENCH_MARKS];

	for (unsigned i = 0; i < BENCH_MARKS; i++) {
		unsigned at = n;

		bench_mark_stat(p, s, i, &st[i]);
		if (!st[i].n)
			continue;
		for (; at > 0 && st[order[at - 1]].median > st[i].median; at--)
			order[at] = order[at - 1];
		order[at] = i;
		n++;
	}
	(void)fprintf(f, "\n%s: %u runs, ms since its start\n", s->name, s->ok);
	(void)fprintf(f, "  %-26s %9s %9s %9s %9s %9s  %9s\n", "", "min", "median", "p90", "p99",
		      "max", "step");
	for (unsigned i = 0; i < n; i++) {
		const struct bench_stat *v = &st[order[i]];

		(void)fprintf(f, "  %-26s %9.2f %9.2f %9.2f %9.2f %9.2f  %+9.2f\n",
			      bench_mark_text(order[i]), v->min / 1e6, v->median / 1e6,
			      v->p90 / 1e6, v->p99 / 1e6, v->max / 1e6,
			      (v->median - (i ? st[order[i - 1]].median : 0)) / 1e6);
	}
}

static void print_counts(const struct bench_plan *p, const struct bench_subject *s, FILE *f)
{
	for (size_t i = 0; i < ARRAY_LEN(shown); i++) {
		struct bench_stat st;

		bench_count_stat(p, s, shown[i].count, &st);
		if (st.n)
			(void)fprintf(f, "  %-34s %.*f%s\n", shown[i].text,
				      shown[i].scale > 1 ? 1 : 0, st.median / shown[i].scale,
				      shown[i].unit);
	}
}

void bench_print_table(const struct bench_plan *p, FILE *f)
{
	bool head = false;

	bench_host_print(p, f);
	for (unsigned i = 0; i < p->subjects; i++) {
		if (p->subject[i].absent) {
			(void)fprintf(f, "\n%s: not installed\n", p->subject[i].name);
			continue;
		}
		print_marks(p, &p->subject[i], f);
		print_counts(p, &p->subject[i], f);
	}
	for (unsigned i = 1; i < p->subjects; i++) {
		struct bench_stat st;

		if (p->subject[i].absent)
			continue;
		if (!head)
			(void)fprintf(f, "\n%s: time to %s, as a ratio within each round\n",
				      p->subject[0].name, bench_mark_text(BENCH_FIRST));
		head = true;
		bench_ratio_stat(p, &p->subject[i], BENCH_FIRST, &st);
		(void)fprintf(f, "  to %-23s %9.2f  (middle half %.2f to %.2f)\n",
			      p->subject[i].name, st.median, st.q1, st.q3);
	}
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static struct json_object *stat_json(const struct bench_stat *st)
{
	const struct {
		const char *key;
		double v;
	} field[] = {{"min", st->min}, {"q1", st->q1},	 {"median", st->median}, {"q3", st->q3},
		     {"p90", st->p90}, {"p99", st->p99}, {"max", st->max}};
	struct json_object *o = json_object_new_object();

	(void)json_object_object_add(o, "n", json_object_new_int64((int64_t)st->n));
	for (size_t i = 0; i < ARRAY_LEN(field); i++) {
		char text[32];

		(void)snprintf(text, sizeof(text), "%.6g", field[i].v);
		if (field[i].v >= 1000)
			(void)snprintf(text, sizeof(text), "%.0f", field[i].v);
		(void)json_object_object_add(o, field[i].key,
					     json_object_new_double_s(field[i].v, text));
	}
	return o;
}

static struct json_object *run_json(const struct bench_run *r)
{
	struct json_object *o = json_object_new_object(), *at = json_object_new_object();
	struct json_object *count = json_object_new_object();

	for (unsigned i = 0; i < BENCH_MARKS; i++)
		if (r->at[i])
			(void)json_object_object_add(at, bench_mark_key(i),
						     json_object_new_int64((int64_t)r->at[i]));
	for (unsigned i = 0; i < BENCH_COUNTS; i++)
		if (r->count[i] != BENCH_NONE)
			(void)json_object_object_add(count, bench_count_key(i),
						     json_object_new_int64((int64_t)r->count[i]));
	(void)json_object_object_add(o, "at_ns", at);
	(void)json_object_object_add(o, "counts", count);
	return o;
}

static struct json_object *subject_json(const struct bench_plan *p, const struct bench_subject *s)
{
	struct json_object *o = json_object_new_object(), *at = json_object_new_object();
	struct json_object *count = json_object_new_object(), *runs = json_object_new_array();
	struct bench_stat st;

	(void)json_object_object_add(o, "name", json_object_new_string(s->name));
	for (unsigned i = 0; i < BENCH_MARKS; i++) {
		bench_mark_stat(p, s, i, &st);
		if (st.n)
			(void)json_object_object_add(at, bench_mark_key(i), stat_json(&st));
	}
	for (unsigned i = 0; i < BENCH_COUNTS; i++) {
		bench_count_stat(p, s, i, &st);
		if (st.n)
			(void)json_object_object_add(count, bench_count_key(i), stat_json(&st));
	}
	(void)json_object_object_add(o, "at_ns", at);
	(void)json_object_object_add(o, "counts", count);
	(void)json_object_object_add(o, "installed", json_object_new_boolean(!s->absent));
	if (s != &p->subject[0] && !s->absent) {
		bench_ratio_stat(p, s, BENCH_FIRST, &st);
		(void)json_object_object_add(o, "ratio_of_first_to_this", stat_json(&st));
	}
	for (unsigned i = 0; i < s->ok; i++)
		(void)json_object_array_add(runs, run_json(&s->run[i]));
	(void)json_object_object_add(o, "runs", runs);
	return o;
}

int bench_print_json(const struct bench_plan *p, FILE *f)
{
	struct json_object *o = json_object_new_object(), *all = json_object_new_array();
	const char *text;

	(void)json_object_object_add(o, "what", json_object_new_string(p->what));
	(void)json_object_object_add(o, "parallel", json_object_new_int64(p->parallel));
	(void)json_object_object_add(o, "warm_up", json_object_new_int64(p->warm_up));
	(void)json_object_object_add(o, "host", bench_host_json(p));
	for (unsigned i = 0; i < p->subjects; i++)
		(void)json_object_array_add(all, subject_json(p, &p->subject[i]));
	(void)json_object_object_add(o, "subjects", all);
	text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	if (text)
		(void)fprintf(f, "%s\n", text);
	json_object_put(o);
	return text ? 0 : -ENOMEM;
}

/* ---- CSV ------------------------------------------------------------------------------------- */

/* RFC 4180: quoted, with quotes doubled. */
static void print_quoted(const char *s, FILE *f)
{
	(void)fputc('"', f);
	for (; *s; s++) {
		if (*s == '"')
			(void)fputc('"', f);
		(void)fputc(*s, f);
	}
	(void)fputc('"', f);
}

static void print_blank(const struct bench_subject *s, FILE *f)
{
	print_quoted(s->name, f);
	for (unsigned i = 0; i < 1 + BENCH_MARKS + BENCH_COUNTS; i++)
		(void)fputc(',', f);
	(void)fputc('\n', f);
}

static void print_row(const struct bench_subject *s, unsigned n, FILE *f)
{
	const struct bench_run *r = &s->run[n];

	print_quoted(s->name, f);
	(void)fprintf(f, ",%u", n + 1);
	for (unsigned i = 0; i < BENCH_MARKS; i++) {
		(void)fputc(',', f);
		if (r->at[i])
			(void)fprintf(f, "%" PRIu64, r->at[i]);
	}
	for (unsigned i = 0; i < BENCH_COUNTS; i++) {
		(void)fputc(',', f);
		if (r->count[i] != BENCH_NONE)
			(void)fprintf(f, "%" PRIu64, r->count[i]);
	}
	(void)fputc('\n', f);
}

void bench_print_csv(const struct bench_plan *p, FILE *f)
{
	(void)fputs("subject,run", f);
	for (unsigned i = 0; i < BENCH_MARKS; i++)
		(void)fprintf(f, ",%s_ns", bench_mark_key(i));
	for (unsigned i = 0; i < BENCH_COUNTS; i++)
		(void)fprintf(f, ",%s", bench_count_key(i));
	(void)fputc('\n', f);
	for (unsigned k = 0; k < p->subjects; k++) {
		if (p->subject[k].absent)
			print_blank(&p->subject[k], f);
		for (unsigned i = 0; i < p->subject[k].ok; i++)
			print_row(&p->subject[k], i, f);
	}
}
