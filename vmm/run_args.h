/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `vmm run` was asked for: the words of its options, and the JSON file with the same keys. No I/O but
 * reading that file; every error names the option or key, what it got and what it takes.
 */
#ifndef HUSK_VMM_RUN_ARGS_H
#define HUSK_VMM_RUN_ARGS_H

#include "base/err.h"
#include "vmm/run.h"

/* Values. 0 or -EINVAL; strings are kept, not copied, and list items are cut up in place. */
int run_parse_size(const char *s, uint64_t *ret); /* K, M, G; megabytes without a suffix */
int run_parse_mac(const char *s, uint8_t ret[6]); /* a unicast address, aa:bb:cc:dd:ee:ff */

int run_parse_part(const char *s, unsigned *ret); /* p1 */

enum run_opt {
	RUN_OPT_KERNEL = 256,
	RUN_OPT_INITRD,
	RUN_OPT_APPEND,
	RUN_OPT_CPUS,
	RUN_OPT_MEMORY,
	RUN_OPT_HW,
	RUN_OPT_DISK,
	RUN_OPT_SHARE,
	RUN_OPT_PMEM,
	RUN_OPT_NET,
	RUN_OPT_CONSOLE,
	RUN_OPT_SERIAL,
	RUN_OPT_REPORT,
	RUN_OPT_MEMORY_MAX,
	RUN_OPT_BALLOON,
	RUN_OPT_SPARE_DISK,
	RUN_OPT_CONTROL,
	RUN_OPT_RESTORE,
	RUN_OPT_NAME, /* stays the last one */
};

/* Applies one option's argument (NULL where it has none). */
int run_set(struct run_config *cfg, enum run_opt opt, char *arg, struct err *e) MUST_CHECK;

/* Reads the JSON object in @path into @cfg, which then points into cfg->kept. There can be one. */
int run_read_config(struct run_config *cfg, const char *path, struct err *e) MUST_CHECK;

/* The same from memory; a NUL follows @text. */
int run_parse_config(struct run_config *cfg, const char *text, size_t len,
		     struct err *e) MUST_CHECK;
/* Frees what the file's values are in; @cfg is not used any more. */
void run_forget_config(struct run_config *cfg);

/* What nobody has said, once everything has been read. */
void run_defaults(struct run_config *cfg);
/* What cannot work together, once everything is known. */
int run_check(const struct run_config *cfg, struct err *e) MUST_CHECK;

#endif
