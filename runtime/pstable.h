/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of `husk ps`: the guest's processes as ps(1) of procps would show them, for the options
 * that people give it. Pids are the container's, and users numbers but for root, because the names
 * are the container's affair. Pure.
 */
#ifndef HUSK_RUNTIME_PSTABLE_H
#define HUSK_RUNTIME_PSTABLE_H

#include <stddef.h>
#include <stdio.h>
#include "base/err.h"
#include "runtime/json.h"

#define PSTABLE_COLUMNS_MAX 24

struct pstable {
	unsigned char col[PSTABLE_COLUMNS_MAX];
	size_t cnt;
};

/* Words after the container's ID: "-ef" (when there are none), "aux", "-o LIST". */
int pstable_parse(struct pstable *t, char **words, size_t cnt, struct err *e) MUST_CHECK;
/* @answer: PSCONTAINER's. What is not as it should be is an error: it comes from the guest. */
int pstable_print(const struct pstable *t, struct json_object *answer, FILE *f,
		  struct err *e) MUST_CHECK;

#endif
