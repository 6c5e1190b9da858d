/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order statistics of a benchmark's samples. No state; any thread.
 */
#ifndef HUSK_VMM_BENCH_STAT_H
#define HUSK_VMM_BENCH_STAT_H

#include <stddef.h>
#include "base/compiler.h"

struct bench_stat {
	size_t n; /* 0: no sample, the rest is zero */
	double min, q1, median, q3, p90, p99, max;
};

/*
 * The value below which the share @q (0 to 1) of @v lies, by linear interpolation between the two
 * nearest samples (the first is at 0, the last at 1). @v is sorted and has @n > 0 values.
 */
double bench_quantile(const double *v, size_t n, double q);

/* Sorts @v. */
void bench_stat(double *v, size_t n, struct bench_stat *ret);

#endif
