/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_json.c and run_args.c: any bytes as configuration file, and its lines as arguments of
 * options.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz_input.h"
#include "vmm/run_args.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(const struct run_config *cfg, int rc, const struct err *e)
{
	BUG_ON(cfg->disk_cnt > RUN_DEVS_MAX || cfg->share_cnt > RUN_DEVS_MAX ||
	       cfg->pmem_cnt > RUN_DEVS_MAX || cfg->net_cnt > RUN_DEVS_MAX);
	/* One sentence, or none. */
	BUG_ON(rc > 0 || (rc < 0) != (e->code != 0) || (rc < 0) != (e->msg[0] != 0));
	if (rc < 0)
		return;
	BUG_ON(cfg->cpus < 1 || cfg->cpus > MACHINE_CPUS_MAX);
	for (unsigned i = 0; i < cfg->disk_cnt; i++)
		BUG_ON(!cfg->disk[i].path || !cfg->disk[i].path[0]);
	for (unsigned i = 0; i < cfg->share_cnt; i++)
		BUG_ON(!cfg->share[i].path[0] || !cfg->share[i].tag[0]);
	for (unsigned i = 0; i < cfg->net_cnt; i++)
		BUG_ON(!cfg->net[i].tap == !cfg->net[i].passt ||
		       cfg->net[i].queues > RUN_NET_QUEUES_MAX ||
		       (cfg->net[i].has_mac && (cfg->net[i].mac[0] & 1)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *text = malloc(len + 1), *line;
	struct run_config file = {.cpus = 1, .append = ""}, words = {.cpus = 1, .append = ""};
	unsigned opt = RUN_OPT_KERNEL;
	struct err e = {0};
	int rc;

	if (!text)
		abort();
	memcpy(text, data, len);
	text[len] = 0;
	rc = run_parse_config(&file, text, len, &e);
	check(&file, rc, &e);
	if (rc == 0) {
		rc = run_check(&file, &e);
		check(&file, rc, &e);
	}
	run_forget_config(&file);

	/* The lines in turn to all options. */
	for (char *rest = text; (line = strsep(&rest, "\n"));) {
		e = (struct err){0};
		rc = run_set(&words, (enum run_opt)opt, line, &e);
		check(&words, rc, &e);
		opt = opt == RUN_OPT_NAME ? RUN_OPT_KERNEL : opt + 1;
	}
	e = (struct err){0};
	rc = run_check(&words, &e);
	check(&words, rc, &e);
	free(text);
	return 0;
}
