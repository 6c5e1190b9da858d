/* SPDX-License-Identifier: Apache-2.0 */
/* See opts.h. */
#include "runtime/opts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct opt *by_name(const struct opt *opts, const char *name, size_t len)
{
	for (; opts->name; opts++)
		if (strlen(opts->name) == len && !strncmp(opts->name, name, len))
			return opts;
	return NULL;
}

static const struct opt *by_letter(const struct opt *opts, char c)
{
	for (; opts->name; opts++)
		if (opts->brief == c)
			return opts;
	return NULL;
}

static int add(struct opt_values *to, const char *value, struct err *e)
{
	const char **v = realloc(to->v, (to->cnt + 1) * sizeof(*v));

	if (!v)
		return err_set(e, -ENOMEM, "out of memory");
	v[to->cnt++] = value;
	to->v = v;
	return 0;
}

static int set(const struct opt *o, const char *value, void *to, struct err *e)
{
	void *field = (char *)to + o->off;

	if (o->kind == OPT_EACH)
		return add(field, value, e);
	if (o->kind != OPT_FLAG) {
		*(const char **)field = value ? value : "";
		return 0;
	}
	if (value && strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
		return err_set(e, -EINVAL, "option --%s: expected true or false, not '%s'", o->name,
			       value);
	*(bool *)field = !value || !strcmp(value, "true");
	return 0;
}

/* One option word; *used_next when its value is the word after it. */
static int one(const char *word, const char *next, const struct opt *opts, void *to,
	       bool *used_next, struct err *e)
{
	size_t dashes = word[1] == '-' ? 2 : 1, len = strcspn(word + dashes, "=");
	const char *value = word[dashes + len] == '=' ? word + dashes + len + 1 : NULL;
	const struct opt *o = by_name(opts, word + dashes, len);

	*used_next = false;
	if (!o && dashes == 1 && (o = by_letter(opts, word[1]))) {
		value = word[2] == '=' ? word + 3 : word[2] ? word + 2 : NULL;
		if (o->kind == OPT_FLAG && word[2] && word[2] != '=')
			o = NULL;
	}
	if (!o)
		return err_set(e, -EINVAL, "unknown option '%s'", word);
	if ((o->kind == OPT_VALUE || o->kind == OPT_EACH) && !value) {
		if (!next)
			return err_set(e, -EINVAL, "flag needs an argument: --%s", o->name);
		value = next;
		*used_next = true;
	}
	return set(o, value, to, e);
}

int opts_parse(int argc, char **argv, const struct opt *opts, void *to, bool stop_at_word,
	       char **words, struct err *e)
{
	bool only_words = false;
	int n = 0;

	for (int i = 1; i < argc; i++) {
		bool is_opt = !only_words && argv[i][0] == '-' && argv[i][1], used_next;
		int rc;

		if (is_opt && !strcmp(argv[i], "--")) {
			only_words = true;
			continue;
		}
		if (!is_opt) {
			words[n++] = argv[i];
			only_words |= stop_at_word;
			continue;
		}
		rc = one(argv[i], i + 1 < argc ? argv[i + 1] : NULL, opts, to, &used_next, e);
		if (rc < 0)
			return rc;
		i += used_next;
	}
	return n;
}

void opts_help(FILE *f, const struct opt *opts)
{
	for (; opts->name; opts++) {
		char left[64];

		if (!opts->help)
			continue;
		(void)snprintf(left, sizeof(left), "%s%c%s--%s%s%s%s", opts->brief ? "-" : "  ",
			       opts->brief ? opts->brief : ' ', opts->brief ? ", " : " ",
			       opts->name,
			       opts->kind == OPT_MAYBE	? "[="
			       : opts->kind == OPT_FLAG ? ""
							: " ",
			       opts->arg ? opts->arg : "", opts->kind == OPT_MAYBE ? "]" : "");
		(void)fprintf(f, "  %-30s %s\n", left, opts->help);
	}
}
