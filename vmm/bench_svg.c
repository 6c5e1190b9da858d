/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A benchmark's results as a picture: one bar a subject on a common axis of time, cut where its
 * phases end (medians), with the spread of the awaited output above it, and below it the phases in
 * words. See bench.h.
 */
#include "vmm/bench.h"

#include <math.h>
#include <string.h>

#include "vmm/bench_stat.h"

#define WIDTH	1000.0
#define LEFT	24.0
#define RIGHT	36.0
#define HEAD	92.0
#define BAR	34.0
#define LINE	17.0
#define COLUMNS 3u
#define NAME_H	24.0
#define GAP	30.0
#define FOOT	44.0

static const char *const colours[] = {"#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951",
				      "#ff8ab7", "#a463f2", "#97bbf5", "#9c6b4e", "#9498a0",
				      "#0f6e63", "#b5179e", "#6b7a00"};

/* A phase: what ended at a mark, and what had ended before. */
struct part {
	unsigned mark;
	double from, to; /* ns */
};

struct drawing {
	const struct bench_plan *p;
	FILE *f;
	double scale; /* pixels a ns */
	double y;
};

static void put_text(FILE *f, const char *s)
{
	for (; *s; s++) {
		if (*s == '<')
			(void)fputs("&lt;", f);
		else if (*s == '>')
			(void)fputs("&gt;", f);
		else if (*s == '&')
			(void)fputs("&amp;", f);
		else if ((unsigned char)*s >= ' ')
			(void)fputc(*s, f);
	}
}

/* Up to the awaited output, or the last mark when a run has none; what comes after it is no start. */
static unsigned parts_of(const struct bench_plan *p, const struct bench_subject *s,
			 struct part part[BENCH_MARKS])
{
	struct bench_stat st, first;
	unsigned n = 0;

	bench_mark_stat(p, s, BENCH_FIRST, &first);
	for (unsigned i = 0; i < BENCH_MARKS; i++) {
		unsigned at = n;

		bench_mark_stat(p, s, i, &st);
		if (!st.n || (first.n && st.median > first.median))
			continue;
		for (; at > 0 && part[at - 1].to > st.median; at--)
			part[at] = part[at - 1];
		part[at] = (struct part){.mark = i, .to = st.median};
		n++;
	}
	for (unsigned i = 0; i < n; i++)
		part[i].from = i ? part[i - 1].to : 0;
	return n;
}

/* 1, 2 or 5 times a power of ten, so that there are some six to twelve of them. */
static double tick_of(double most)
{
	double unit = pow(10, floor(log10(most / 6)));

	if (most / unit > 30)
		return unit * 5;
	return most / unit > 12 ? unit * 2 : unit;
}

static void axis(const struct drawing *d, double most, double bottom)
{
	double tick = tick_of(most);

	for (double t = 0; t <= most * 1.0001; t += tick) {
		double x = LEFT + t * d->scale;

		(void)fprintf(d->f,
			      "<line x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f' stroke='#ddd'/>"
			      "<text x='%.1f' y='%.1f' class='s' text-anchor='middle'>%g</text>\n",
			      x, HEAD - 8, x, bottom, x, HEAD - 13, t / 1e6);
	}
}

static void bar(const struct drawing *d, const struct part *part, unsigned n, unsigned subject)
{
	for (unsigned i = 0; i < n; i++) {
		double x = LEFT + part[i].from * d->scale,
		       w = (part[i].to - part[i].from) * d->scale;
		const char *fill = n > 1     ? colours[i % ARRAY_LEN(colours)]
				   : subject ? "#b4b8c0"
					     : "#4269d0";

		(void)fprintf(d->f,
			      "<rect x='%.2f' y='%.1f' width='%.2f' height='%.1f' fill='%s'/>\n", x,
			      d->y, w, BAR, fill);
		if (w > 44)
			(void)fprintf(
			    d->f,
			    "<text x='%.1f' y='%.1f' class='b' text-anchor='middle'>%.1f</text>\n",
			    x + w / 2, d->y + BAR / 2 + 4, (part[i].to - part[i].from) / 1e6);
	}
}

/*
 * Half of all runs lie within the thick line, all of them within the thin one; it ends in an arrow
 * where one took longer than the picture is wide.
 */
static void spread(const struct drawing *d, const struct bench_stat *st)
{
	double y = d->y + BAR + 7, x0 = LEFT + st->min * d->scale, x1 = LEFT + st->max * d->scale;
	const double edge = WIDTH - 10;

	if (x1 > edge) {
		x1 = edge;
		(void)fprintf(d->f, "<path d='M%.1f %.1f l8 5 l-8 5' fill='none' stroke='#333'/>\n",
			      edge - 8, y - 5);
	}

	(void)fprintf(d->f,
		      "<line x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f' stroke='#333'/>"
		      "<line x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f' stroke='#333' "
		      "stroke-width='5'/>"
		      "<circle cx='%.1f' cy='%.1f' r='4' fill='#fff' stroke='#333'/>\n",
		      x0, y, x1, y, LEFT + st->q1 * d->scale, y, LEFT + st->q3 * d->scale, y,
		      LEFT + st->median * d->scale, y);
}

static void legend(const struct drawing *d, const struct part *part, unsigned n)
{
	double y = d->y + BAR + 30, each = (WIDTH - LEFT - RIGHT) / COLUMNS;
	unsigned rows = (n + COLUMNS - 1) / COLUMNS;

	for (unsigned i = 0; i < n; i++) {
		double x = LEFT + each * (i / rows), at = y + LINE * (i % rows);

		(void)fprintf(d->f,
			      "<rect x='%.1f' y='%.1f' width='11' height='11' fill='%s'/>"
			      "<text x='%.1f' y='%.1f' class='s'>",
			      x, at - 10, colours[i % ARRAY_LEN(colours)], x + 17, at);
		put_text(d->f, bench_mark_text(part[i].mark));
		(void)fprintf(d->f, ": %.2f ms (+%.2f)</text>\n", part[i].to / 1e6,
			      (part[i].to - part[i].from) / 1e6);
	}
}

static double height_of(unsigned parts)
{
	unsigned rows = parts > 1 ? (parts + COLUMNS - 1) / COLUMNS : 0;

	return NAME_H + BAR + 16 + (rows ? rows * LINE + 14 : 0) + GAP;
}

static void subject(struct drawing *d, unsigned i)
{
	const struct bench_subject *s = &d->p->subject[i];
	struct part part[BENCH_MARKS];
	unsigned n = parts_of(d->p, s, part);
	struct bench_stat st, ratio;

	bench_mark_stat(d->p, s, BENCH_FIRST, &st);
	(void)fprintf(d->f, "<text x='%.1f' y='%.1f' class='n'>", LEFT, d->y + 14);
	put_text(d->f, s->name);
	if (s->absent) {
		(void)fputs(": <tspan class='s'>not installed</tspan></text>\n", d->f);
		d->y += height_of(n);
		return;
	}
	(void)fprintf(
	    d->f, ": %.1f ms <tspan class='s'>(half of the runs %.1f to %.1f, all %.1f to %.1f)",
	    st.median / 1e6, st.q1 / 1e6, st.q3 / 1e6, st.min / 1e6, st.max / 1e6);
	if (i) {
		bench_ratio_stat(d->p, s, BENCH_FIRST, &ratio);
		(void)fputs("; ", d->f);
		put_text(d->f, d->p->subject[0].name);
		(void)fprintf(d->f, " takes %.2f times as long", ratio.median);
	}
	(void)fputs("</tspan></text>\n", d->f);
	d->y += NAME_H;
	bar(d, part, n, i);
	spread(d, &st);
	if (n > 1)
		legend(d, part, n);
	d->y += height_of(n) - NAME_H;
}

static void head(const struct drawing *d, double height)
{
	(void)fprintf(d->f,
		      "<?xml version='1.0' encoding='UTF-8'?>\n"
		      "<svg xmlns='http://www.w3.org/2000/svg' width='%.0f' height='%.0f' "
		      "viewBox='0 0 %.0f %.0f'>\n<style>text{font-family:sans-serif;fill:#222}"
		      ".t{font-size:19px;font-weight:bold}.n{font-size:15px;font-weight:bold}"
		      ".s{font-size:12px;font-weight:normal;fill:#444}.b{font-size:12px;fill:#fff;"
		      "font-weight:bold}</style>\n"
		      "<rect width='100%%' height='100%%' fill='#fff'/>\n"
		      "<text x='%.0f' y='28' class='t'>Time to the first output: ",
		      WIDTH, height, WIDTH, height, LEFT);
	put_text(d->f, d->p->what);
	(void)fprintf(
	    d->f,
	    ", median of %u runs</text>\n<text x='%.0f' y='48' class='s'>Milliseconds since "
	    "the command was started. A colour ends where the event of its name happened; "
	    "the line below a bar is the spread of its end.</text>\n",
	    d->p->runs, LEFT);
}

/* The host in its two lines. */
static void foot(const struct drawing *d, double height)
{
	char text[1024] = "", *save = NULL;
	FILE *f = fmemopen(text, sizeof(text), "w");
	double y = height - FOOT + 16;

	if (!f)
		return;
	bench_host_print(d->p, f);
	(void)fclose(f);
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		(void)fprintf(d->f, "<text x='%.0f' y='%.0f' class='s'>", LEFT, y);
		put_text(d->f, line + strspn(line, " "));
		(void)fputs("</text>\n", d->f);
		y += LINE;
	}
}

void bench_print_svg(const struct bench_plan *p, FILE *f)
{
	struct drawing d = {.p = p, .f = f, .y = HEAD + 6};
	struct part part[BENCH_MARKS];
	double most = 1000, height = HEAD + FOOT;

	for (unsigned i = 0; i < p->subjects; i++) {
		struct bench_stat st;

		bench_mark_stat(p, &p->subject[i], BENCH_FIRST, &st);
		/* One run that stood still for a while would make all else too small to be seen. */
		most = fmax(most, fmin(st.max, 1.3 * st.q3));
		height += height_of(parts_of(p, &p->subject[i], part));
	}
	d.scale = (WIDTH - LEFT - RIGHT) / most;
	head(&d, height);
	axis(&d, most, height - FOOT - 6);
	for (unsigned i = 0; i < p->subjects; i++)
		subject(&d, i);
	foot(&d, height);
	(void)fputs("</svg>\n", f);
}
