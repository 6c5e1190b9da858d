/* SPDX-License-Identifier: Apache-2.0 */
/* See bench_stat.h. */
#include "vmm/bench_stat.h"

#include <stdlib.h>

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double bench_quantile(const double *v, size_t n, double q)
{
	double at = q * (double)(n - 1);
	size_t low = (size_t)at;

	if (low + 1 >= n)
		return v[n - 1];
	return v[low] + (v[low + 1] - v[low]) * (at - (double)low);
}

void bench_stat(double *v, size_t n, struct bench_stat *ret)
{
	*ret = (struct bench_stat){.n = n};
	if (!n)
		return;
	qsort(v, n, sizeof(*v), by_value);
	ret->min = v[0];
	ret->q1 = bench_quantile(v, n, 0.25);
	ret->median = bench_quantile(v, n, 0.5);
	ret->q3 = bench_quantile(v, n, 0.75);
	ret->p90 = bench_quantile(v, n, 0.9);
	ret->p99 = bench_quantile(v, n, 0.99);
	ret->max = v[n - 1];
}
