/* SPDX-License-Identifier: Apache-2.0 */
/* See pstable.h. */
#include "runtime/pstable.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/compiler.h"
#include "base/fd.h"

#define CELL_MAX 4096u

/* What the columns need of a process. */
struct row {
	int64_t pid, ppid, uid, gid, start, time_ms, vsz, rss, nice, threads;
	const char *state, *tty, *comm, *args;
	int64_t now, memory; /* seconds since 1970 and KiB of the guest */
};

static int64_t elapsed(const struct row *r)
{
	return r->now > r->start ? r->now - r->start : 0;
}

static void put_number(char *out, size_t cap, int64_t v)
{
	(void)snprintf(out, cap, "%" PRId64, v);
}

static void put_user(char *out, size_t cap, int64_t id)
{
	if (id == 0)
		(void)snprintf(out, cap, "root");
	else
		put_number(out, cap, id);
}

/* In tenths of a percent, without a fraction of it lost to 0. */
static int64_t cpu_permille(const struct row *r)
{
	int64_t s = elapsed(r);

	return s ? r->time_ms / s : 0;
}

static void put_percent(char *out, size_t cap, int64_t permille)
{
	(void)snprintf(out, cap, "%" PRId64 ".%" PRId64, permille / 10, permille % 10);
}

/* [DD-]hh:mm:ss, as ps(1) has it. */
static void put_time(char *out, size_t cap, int64_t s)
{
	char days[24] = "";

	if (s >= 86400)
		(void)snprintf(days, sizeof(days), "%" PRId64 "-", s / 86400);
	(void)snprintf(out, cap, "%s%02d:%02d:%02d", days, (int)(s / 3600 % 24), (int)(s / 60 % 60),
		       (int)(s % 60));
}

/* The hour if it was today, else the day. */
static void put_start(char *out, size_t cap, const struct row *r)
{
	time_t t = (time_t)r->start;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || !strftime(out, cap, elapsed(r) < 86400 ? "%H:%M" : "%b%d", &tm))
		(void)snprintf(out, cap, "?");
}

static void cell_uid(const struct row *r, char *out, size_t cap)
{
	put_user(out, cap, r->uid);
}
static void cell_uid_number(const struct row *r, char *out, size_t cap)
{
	put_number(out, cap, r->uid);
}
static void cell_gid(const struct row *r, char *out, size_t cap)
{
	put_number(out, cap, r->gid);
}
static void cell_pid(const struct row *r, char *out, size_t cap)
{
	put_number(out, cap, r->pid);
}
static void cell_ppid(const struct row *r, char *out, size_t cap)
{
	put_number(out, cap, r->ppid);
}
static void cell_c(const struct row *r, char *out, size_t cap)
{
	put_number(out, cap, MIN(cpu_permille(r) / 10, 99));
}
static void cell_pcpu(const struct row *r, char *out, size_t cap)
{
	put_percent(out, cap, cpu_permille(r));
}
static void cell_pmem(const struct row *r, char *out, size_t cap)
{
	put_percent(out, cap,
		    r->memory > 0 ? (int64_t)((double)r->rss * 1000 / (double)r->memory) : 0);
}
static void cell_vsz(const struct row *r, char *out, size_t cap)
{
	put_number(out, cap, r->vsz);
}
static void cell_rss(const struct row *r, char *out, size_t cap)
{
	put_number(out, cap, r->rss);
}
static void cell_tty(const struct row *r, char *out, size_t cap)
{
	(void)snprintf(out, cap, "%s", r->tty);
}
static void cell_state(const struct row *r, char *out, size_t cap)
{
	(void)snprintf(out, cap, "%.1s", r->state);
}
static void cell_start(const struct row *r, char *out, size_t cap)
{
	put_start(out, cap, r);
}
static void cell_time(const struct row *r, char *out, size_t cap)
{
	put_time(out, cap, r->time_ms / 1000);
}
static void cell_bsdtime(const struct row *r, char *out, size_t cap)
{
	(void)snprintf(out, cap, "%" PRId64 ":%02d", r->time_ms / 60000,
		       (int)(r->time_ms / 1000 % 60));
}
static void cell_etime(const struct row *r, char *out, size_t cap)
{
	put_time(out, cap, elapsed(r));
}
static void cell_nice(const struct row *r, char *out, size_t cap)
{
	put_number(out, cap, r->nice);
}
static void cell_threads(const struct row *r, char *out, size_t cap)
{
	put_number(out, cap, r->threads);
}
static void cell_comm(const struct row *r, char *out, size_t cap)
{
	(void)snprintf(out, cap, "%s", r->comm);
}
/* A process without arguments is a kernel thread or has put them out of sight. */
static void cell_args(const struct row *r, char *out, size_t cap)
{
	if (*r->args)
		(void)snprintf(out, cap, "%s", r->args);
	else
		(void)snprintf(out, cap, "[%s]", r->comm);
}

static const struct column {
	const char *names; /* for -o, each with a space before and after it */
	const char *head;
	void (*cell)(const struct row *r, char *out, size_t cap);
	bool left;
} columns[] = {
    {" user euser uname ", "USER", cell_uid, true},
    {"", "UID", cell_uid, true}, /* -f's: names below the head of numbers */
    {" uid euid ", "UID", cell_uid_number, false},
    {" gid egid ", "GID", cell_gid, false},
    {" pid ", "PID", cell_pid, false},
    {" ppid ", "PPID", cell_ppid, false},
    {" c ", "C", cell_c, false},
    {" pcpu %cpu ", "%CPU", cell_pcpu, false},
    {" pmem %mem ", "%MEM", cell_pmem, false},
    {" vsz vsize ", "VSZ", cell_vsz, false},
    {" rss rssize rsz ", "RSS", cell_rss, false},
    {" tty tt tname ", "TTY", cell_tty, true},
    {" s state stat ", "STAT", cell_state, true},
    {" stime start_time start bsdstart ", "STIME", cell_start, true},
    {"", "START", cell_start, true}, /* aux's */
    {" time cputime ", "TIME", cell_time, false},
    {" bsdtime ", "TIME", cell_bsdtime, false},
    {" etime ", "ELAPSED", cell_etime, false},
    {" ni nice ", "NI", cell_nice, false},
    {" nlwp thcount ", "NLWP", cell_threads, false},
    {" comm ucmd ucomm ", "COMMAND", cell_comm, true},
    {" args command ", "COMMAND", cell_args, true},
    {" cmd ", "CMD", cell_args, true},
};

static int add_column(struct pstable *t, const char *name, size_t len, struct err *e)
{
	char word[32];

	if (len + 3 <= sizeof(word)) {
		(void)snprintf(word, sizeof(word), " %.*s ", (int)len, name);
		for (size_t i = 0; len && i < ARRAY_LEN(columns); i++) {
			if (!strstr(columns[i].names, word))
				continue;
			if (t->cnt == ARRAY_LEN(t->col))
				return err_set(e, -E2BIG, "ps: more than %d columns",
					       PSTABLE_COLUMNS_MAX);
			t->col[t->cnt++] = (unsigned char)i;
			return 0;
		}
	}
	return err_set(e, -EINVAL, "ps: column '%.*s': not known here", (int)MIN(len, 40), name);
}

static int add_list(struct pstable *t, const char *list, struct err *e)
{
	int rc = 0;

	while (rc == 0) {
		size_t n = strcspn(list, ", ");

		rc = add_column(t, list, n, e);
		list += n;
		if (!*list)
			break;
		list++;
	}
	return rc;
}

static void add_heads(struct pstable *t, const char *const *heads)
{
	/* Those with a name that -o does not have come first in the table. */
	for (t->cnt = 0; *heads; heads += 2)
		for (size_t i = 0; i < ARRAY_LEN(columns); i++)
			if (!strcmp(columns[i].head, heads[0]) &&
			    !strcmp(columns[i].names, heads[1]))
				t->col[t->cnt++] = (unsigned char)i;
}

static void full_format(struct pstable *t)
{
	static const char *const heads[] = {"UID",   "",
					    "PID",   " pid ",
					    "PPID",  " ppid ",
					    "C",     " c ",
					    "STIME", " stime start_time start bsdstart ",
					    "TTY",   " tty tt tname ",
					    "TIME",  " time cputime ",
					    "CMD",   " cmd ",
					    NULL};

	add_heads(t, heads);
}

static void user_format(struct pstable *t)
{
	static const char *const heads[] = {
	    "USER", " user euser uname ", "PID",     " pid ",	       "%CPU",	" pcpu %cpu ",
	    "%MEM", " pmem %mem ",	  "VSZ",     " vsz vsize ",    "RSS",	" rss rssize rsz ",
	    "TTY",  " tty tt tname ",	  "STAT",    " s state stat ", "START", "",
	    "TIME", " bsdtime ",	  "COMMAND", " args command ", NULL};

	add_heads(t, heads);
}

/*
 * "-eo" and "-o" take a list, in the same word or the next. -e, -A, a, x and -w change nothing: all
 * processes of the container are shown, in full.
 */
static int one_word(struct pstable *t, const char *word, const char *next, bool *used, bool *listed,
		    struct err *e)
{
	bool dash = *word == '-';

	*used = false;
	if (!word[dash])
		return err_set(e, -EINVAL, "ps: option '%.40s': not known here", word);
	for (const char *p = word + dash; *p; p++) {
		const char *list = p[1] ? p + 1 : next;

		if (*p == 'o') {
			if (!list)
				return err_set(e, -EINVAL, "ps: option o: needs a list of columns");
			*used = list == next;
			if (!*listed)
				t->cnt = 0;
			*listed = true;
			return add_list(t, list, e);
		}
		if (*p == 'f' && dash && !*listed)
			full_format(t);
		else if (*p == 'u' && !dash && !*listed)
			user_format(t);
		else if (!strchr(dash ? "eAfw" : "axwu", *p))
			return err_set(e, -EINVAL,
				       "ps: option '%.40s': not known here: -ef, aux and -o LIST "
				       "are",
				       word);
	}
	return 0;
}

int pstable_parse(struct pstable *t, char **words, size_t cnt, struct err *e)
{
	bool listed = false;

	full_format(t);
	for (size_t i = 0; i < cnt; i++) {
		bool used;
		int rc =
		    one_word(t, words[i], i + 1 < cnt ? words[i + 1] : NULL, &used, &listed, e);

		if (rc < 0)
			return rc;
		i += used;
	}
	return 0;
}

/* ---- printing -------------------------------------------------------------------------------- */

static void fill(struct row *r, struct json_object *o, struct json_object *answer)
{
	r->pid = json_i64(o, "pid", 0);
	r->ppid = json_i64(o, "ppid", 0);
	r->uid = json_i64(o, "uid", 0);
	r->gid = json_i64(o, "gid", 0);
	r->start = json_i64(o, "start", 0);
	r->time_ms = json_i64(o, "time_ms", 0);
	r->vsz = json_i64(o, "vsz_kb", 0);
	r->rss = json_i64(o, "rss_kb", 0);
	r->nice = json_i64(o, "nice", 0);
	r->threads = json_i64(o, "threads", 0);
	r->state = json_str(o, "state", "?");
	r->tty = json_str(o, "tty", "?");
	r->comm = json_str(o, "comm", "");
	r->args = json_str(o, "cmdline", "");
	r->now = json_i64(answer, "now", 0);
	r->memory = json_i64(answer, "memory_kb", 0);
}

/* A process of the guest shall not write to the terminal of whoever looks at it. */
static void printable(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || (unsigned char)*text == 0x7f)
			*text = '?';
}

static void one_line(const struct pstable *t, const struct row *r, const size_t *width, FILE *f)
{
	char cell[CELL_MAX];

	for (size_t i = 0; i < t->cnt; i++) {
		const struct column *c = &columns[t->col[i]];

		if (r)
			c->cell(r, cell, sizeof(cell));
		else
			(void)snprintf(cell, sizeof(cell), "%s", c->head);
		printable(cell);
		(void)fprintf(f, "%s", i ? " " : "");
		if (i + 1 == t->cnt && c->left)
			(void)fprintf(f, "%s\n", cell);
		else
			(void)fprintf(f, "%*s%s", c->left ? -(int)width[i] : (int)width[i], cell,
				      i + 1 == t->cnt ? "\n" : "");
	}
}

static void widths(const struct pstable *t, const struct row *r, size_t *width)
{
	char cell[CELL_MAX];

	for (size_t i = 0; i < t->cnt; i++) {
		columns[t->col[i]].cell(r, cell, sizeof(cell));
		width[i] = MAX(width[i], strlen(cell));
	}
}

int pstable_print(const struct pstable *t, struct json_object *answer, FILE *f, struct err *e)
{
	struct json_object *all = json_at(answer, "processes");
	size_t width[PSTABLE_COLUMNS_MAX], cnt = json_len(answer, "processes");
	struct row r;

	if (!json_object_is_type(all, json_type_array))
		return err_set(e, -EPROTO, "the guest's list of processes is none");
	for (size_t i = 0; i < t->cnt; i++)
		width[i] = strlen(columns[t->col[i]].head);
	for (size_t i = 0; i < cnt; i++) {
		fill(&r, json_object_array_get_idx(all, i), answer);
		widths(t, &r, width);
	}
	one_line(t, NULL, width, f);
	for (size_t i = 0; i < cnt; i++) {
		fill(&r, json_object_array_get_idx(all, i), answer);
		one_line(t, &r, width, f);
	}
	return fflush(f) == EOF ? err_sys(e, -errno, "printing") : 0;
}
