/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command-line options as tables: one row is the parser's rule and the help's line.
 */
#ifndef HUSK_RUNTIME_OPTS_H
#define HUSK_RUNTIME_OPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include "base/err.h"

enum opt_kind {
	OPT_FLAG,  /* bool: --x, --x=true, --x=false */
	OPT_VALUE, /* const char *: --x V, --x=V, -xV */
	OPT_MAYBE, /* const char *: --x (gives ""), --x=V */
	OPT_EACH,  /* struct opt_values: as OPT_VALUE, any number of times */
};

struct opt_values {
	const char **v; /* malloc'd: the caller frees it */
	size_t cnt;
};

struct opt {
	const char *name; /* without dashes; NULL ends a table */
	char brief;	  /* one-letter form, or 0 */
	enum opt_kind kind;
	size_t off;	  /* of the field in the caller's structure */
	const char *arg;  /* how the help calls the value */
	const char *help; /* NULL = accepted and not shown */
};

/*
 * Parses argv[1..argc) into @to. Words that are no options go to @words (argc places are enough),
 * options may stand among them; after "--" all are words. @stop_at_word: the first word and all
 * after it are words (a verb's own options follow). Returns the number of words, or -EINVAL.
 */
int opts_parse(int argc, char **argv, const struct opt *opts, void *to, bool stop_at_word,
	       char **words, struct err *e) MUST_CHECK;
void opts_help(FILE *f, const struct opt *opts);

#endif
