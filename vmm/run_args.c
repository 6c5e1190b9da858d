/* SPDX-License-Identifier: Apache-2.0 */
/* The words of `vmm run`'s options. See run_args.h. */
#include "vmm/run_args.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"

int run_parse_size(const char *s, uint64_t *ret)
{
	unsigned shift = 20;
	uint64_t v;
	char *end;

	errno = 0;
	v = strtoull(s, &end, 10);
	if (errno || *s < '0' || *s > '9')
		return -EINVAL;
	switch (*end) {
	case 'K':
	case 'k':
		shift = 10;
		end++;
		break;
	case 'M':
	case 'm':
		end++;
		break;
	case 'G':
	case 'g':
		shift = 30;
		end++;
		break;
	default:
		break;
	}
	if (*end || v > UINT64_MAX >> shift)
		return -EINVAL;
	*ret = v << shift;
	return 0;
}

int run_parse_mac(const char *s, uint8_t ret[6])
{
	unsigned b[6];
	int end = 0;

	if (sscanf(s, "%2x:%2x:%2x:%2x:%2x:%2x%n", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5],
		   &end) != 6 ||
	    end != 17 || s[17] || (b[0] & 1))
		return -EINVAL;
	for (unsigned i = 0; i < 6; i++)
		ret[i] = (uint8_t)b[i];
	return 0;
}

static int parse_count(const char *s, unsigned max, unsigned *ret)
{
	unsigned long v;
	char *end;

	errno = 0;
	v = strtoul(s, &end, 10);
	if (errno || *end || *s < '0' || *s > '9' || v == 0 || v > max)
		return -EINVAL;
	*ret = (unsigned)v;
	return 0;
}

int run_parse_part(const char *s, unsigned *ret)
{
	return s[0] == 'p' ? parse_count(s + 1, RUN_PARTS_MAX, ret) : -EINVAL;
}

static int parse_hw(const char *s, enum machine_hw *ret)
{
	if (!strcmp(s, "fdt"))
		*ret = MACHINE_HW_FDT;
	else if (!strcmp(s, "mptable"))
		*ret = MACHINE_HW_MPTABLE;
	else if (!strcmp(s, "auto"))
		*ret = MACHINE_HW_AUTO;
	else
		return -EINVAL;
	return 0;
}

static int parse_console(struct run_config *cfg, const char *s)
{
	if (!strcmp(s, "stdio")) {
		cfg->console = RUN_CONSOLE_STDIO;
	} else if (!strcmp(s, "none")) {
		cfg->console = RUN_CONSOLE_NONE;
	} else if (!strncmp(s, "file=", 5) && s[5]) {
		cfg->console = RUN_CONSOLE_FILE;
		cfg->console_file = s + 5;
	} else {
		return -EINVAL;
	}
	return 0;
}

/* Takes the next comma-separated word if it is @name (then true) or starts with @name= (then its value). */
static bool take_flag(char **rest, const char *name)
{
	size_t n = strlen(name);

	if (!*rest || strncmp(*rest, name, n) != 0 || ((*rest)[n] && (*rest)[n] != ','))
		return false;
	(void)strsep(rest, ",");
	return true;
}

static char *take_value(char **rest, const char *name)
{
	size_t n = strlen(name);

	if (!*rest || strncmp(*rest, name, n) != 0 || (*rest)[n] != '=' || !(*rest)[n + 1] ||
	    (*rest)[n + 1] == ',')
		return NULL;
	return strsep(rest, ",") + n + 1;
}

static int parse_disk(struct run_config *cfg, char *s)
{
	struct run_disk *d = &cfg->disk[cfg->disk_cnt];
	char *rest = s;

	*d = (struct run_disk){.path = strsep(&rest, ",")};
	while (rest) {
		char *v = take_value(&rest, "serial");

		if (v && !d->serial)
			d->serial = v;
		else if (v)
			return -EINVAL;
		else if (!d->readonly && take_flag(&rest, "ro"))
			d->readonly = true;
		else if (!d->direct && take_flag(&rest, "direct"))
			d->direct = true;
		else if (!d->spare && take_flag(&rest, "spare"))
			d->spare = true;
		else
			return -EINVAL;
	}
	if (!d->path[0])
		return -EINVAL;
	cfg->disk_cnt++;
	return 0;
}

static int parse_share(struct run_config *cfg, char *s)
{
	struct run_share *sh = &cfg->share[cfg->share_cnt];
	char *rest = s;

	*sh = (struct run_share){.path = strsep(&rest, ",")};
	while (rest) {
		char *v = take_value(&rest, "tag");

		if (v && !sh->tag)
			sh->tag = v;
		else if (v || !take_flag(&rest, "ro"))
			return -EINVAL;
		else
			sh->readonly = true;
	}
	if (!sh->path[0] || !sh->tag)
		return -EINVAL;
	cfg->share_cnt++;
	return 0;
}

static int parse_pmem(struct run_config *cfg, char *s)
{
	struct run_pmem *p = &cfg->pmem[cfg->pmem_cnt];
	char *rest = s;

	char *v;

	*p = (struct run_pmem){.path = strsep(&rest, ",")};
	while (rest) {
		if (take_flag(&rest, "ro"))
			p->readonly = true;
		else if (!p->root && take_flag(&rest, "root"))
			p->root = true;
		else if (!p->root && (v = take_value(&rest, "root")) &&
			 !run_parse_part(v, &p->part))
			p->root = true;
		else
			return -EINVAL;
	}
	if (!p->path[0])
		return -EINVAL;
	cfg->pmem_cnt++;
	return 0;
}

static int parse_net(struct run_config *cfg, char *s)
{
	struct run_net *n = &cfg->net[cfg->net_cnt];
	char *rest = s, *v;

	*n = (struct run_net){.tap = take_value(&rest, "tap")};
	if (!n->tap)
		n->passt = take_value(&rest, "passt");
	if (!n->tap && !n->passt && take_flag(&rest, "passt"))
		n->passt = "";
	if (!n->tap && !n->passt)
		return -EINVAL;
	while (rest) {
		if ((v = take_value(&rest, "mac")) && !n->has_mac && !run_parse_mac(v, n->mac))
			n->has_mac = true;
		else if (!v && (v = take_value(&rest, "mtu")) && !n->mtu &&
			 !parse_count(v, UINT16_MAX, &n->mtu) && n->mtu >= RUN_MTU_MIN)
			continue;
		else if (!v && n->tap && (v = take_value(&rest, "queues")) && !n->queues &&
			 !parse_count(v, RUN_NET_QUEUES_MAX, &n->queues))
			continue;
		else
			return -EINVAL;
	}
	cfg->net_cnt++;
	return 0;
}

/* Lists take so many. */
static int list_room(unsigned cnt, const char *what, struct err *e)
{
	if (cnt < RUN_DEVS_MAX)
		return 0;
	return err_set(e, -ENOSPC, "%s: more than %u", what, RUN_DEVS_MAX);
}

static int set_list(struct run_config *cfg, enum run_opt opt, char *arg, struct err *e)
{
	auto_free char *whole = strdup(arg); /* parsing cuts the argument up */
	const char *name, *takes;
	unsigned cnt;
	int rc;

	switch (opt) {
	case RUN_OPT_DISK:
		name = "--disk", takes = "FILE[,ro][,direct][,spare][,serial=WORD]",
		cnt = cfg->disk_cnt;
		break;
	case RUN_OPT_SHARE:
		name = "--share", takes = "DIR,tag=TAG[,ro]", cnt = cfg->share_cnt;
		break;
	case RUN_OPT_PMEM:
		name = "--pmem", takes = "FILE[,ro][,root[=pN]]", cnt = cfg->pmem_cnt;
		break;
	default:
		name = "--net", cnt = cfg->net_cnt;
		takes = "tap=NAME[,mac=MAC][,mtu=N][,queues=N] or "
			"passt[=SOCKET][,mac=MAC][,mtu=N]";
		break;
	}
	rc = list_room(cnt, name, e);
	if (rc < 0)
		return rc;
	if (opt == RUN_OPT_DISK)
		rc = parse_disk(cfg, arg);
	else if (opt == RUN_OPT_SHARE)
		rc = parse_share(cfg, arg);
	else if (opt == RUN_OPT_PMEM)
		rc = parse_pmem(cfg, arg);
	else
		rc = parse_net(cfg, arg);
	return rc < 0 ? err_set(e, rc, "%s takes %s, not '%s'", name, takes, whole ? whole : "")
		      : 0;
}

int run_set(struct run_config *cfg, enum run_opt opt, char *arg, struct err *e)
{
	switch (opt) {
	case RUN_OPT_KERNEL:
		cfg->kernel = arg;
		return 0;
	case RUN_OPT_INITRD:
		cfg->initrd = arg;
		return 0;
	case RUN_OPT_APPEND:
		cfg->append = arg;
		return 0;
	case RUN_OPT_RESTORE:
		cfg->restore = arg;
		return 0;
	case RUN_OPT_NAME:
		cfg->name = arg;
		return 0;
	case RUN_OPT_SERIAL:
		cfg->serial = true;
		return 0;
	case RUN_OPT_CPUS:
		if (parse_count(arg, MACHINE_CPUS_MAX, &cfg->cpus) == 0)
			return 0;
		return err_set(e, -EINVAL, "--cpus takes a number from 1 to %u, not '%s'",
			       MACHINE_CPUS_MAX, arg);
	case RUN_OPT_MEMORY:
		if (run_parse_size(arg, &cfg->memory) == 0 && cfg->memory)
			return 0;
		return err_set(e, -EINVAL, "--memory takes a size such as 128M, not '%s'", arg);
	case RUN_OPT_MEMORY_MAX:
		if (run_parse_size(arg, &cfg->memory_max) == 0)
			return 0;
		return err_set(e, -EINVAL, "--memory-max takes a size such as 1G, not '%s'", arg);
	case RUN_OPT_SPARE_DISK:
		if (parse_count(arg, RUN_DEVS_MAX, &cfg->spare_disks) == 0)
			return 0;
		return err_set(e, -EINVAL, "--spare-disk takes a number from 1 to %u, not '%s'",
			       RUN_DEVS_MAX, arg);
	case RUN_OPT_CONTROL:
		cfg->control = arg;
		return 0;
	case RUN_OPT_BALLOON:
		cfg->balloon = true;
		return 0;
	case RUN_OPT_HW:
		if (parse_hw(arg, &cfg->hw) == 0)
			return 0;
		return err_set(e, -EINVAL, "--hw takes fdt, mptable or auto, not '%s'", arg);
	case RUN_OPT_CONSOLE:
		if (parse_console(cfg, arg) == 0)
			return 0;
		return err_set(e, -EINVAL, "--console takes stdio, none or file=PATH, not '%s'",
			       arg);
	case RUN_OPT_REPORT:
		if (arg && strcmp(arg, "json") != 0)
			return err_set(e, -EINVAL, "--boot-report takes json or nothing, not '%s'",
				       arg);
		cfg->report = arg ? RUN_REPORT_JSON : RUN_REPORT_TEXT;
		return 0;
	case RUN_OPT_DISK:
	case RUN_OPT_SHARE:
	case RUN_OPT_PMEM:
	case RUN_OPT_NET:
		return set_list(cfg, opt, arg, e);
	}
	return err_set(e, -EINVAL, "unknown option");
}

void run_defaults(struct run_config *cfg)
{
	if (cfg->restore)
		return;
	if (!cfg->cpus)
		cfg->cpus = 1;
	if (!cfg->memory)
		cfg->memory = RUN_MEMORY;
}

static int check_start(const struct run_config *cfg, struct err *e)
{
	const char *with = cfg->kernel	 ? "--kernel"
			   : cfg->initrd ? "--initrd"
			   : cfg->append ? "--append"
			   : cfg->hw	 ? "--hw"
					 : NULL;

	if (!cfg->kernel && !cfg->restore)
		return err_set(e, -EINVAL, "no kernel given; see 'vmm run --help'");
	if (cfg->restore && with)
		return err_set(e, -EINVAL,
			       "%s: a machine that goes on with --restore has it already", with);
	return 0;
}

int run_check(const struct run_config *cfg, struct err *e)
{
	unsigned roots = 0;

	if (check_start(cfg, e) < 0)
		return e->code;
	if (cfg->memory_max && cfg->memory_max <= cfg->memory)
		return err_set(e, -EINVAL,
			       "--memory-max: %llu MiB are not more than the %llu of --memory",
			       (unsigned long long)(cfg->memory_max >> 20),
			       (unsigned long long)(cfg->memory >> 20));
	for (unsigned i = 0; i < cfg->pmem_cnt; i++)
		roots += cfg->pmem[i].root;
	if (roots > 1)
		return err_set(e, -EINVAL, "--pmem: there can be one root, not %u", roots);
	for (unsigned i = 0; i < cfg->share_cnt; i++) {
		if (strlen(cfg->share[i].tag) > RUN_TAG_MAX)
			return err_set(e, -EINVAL,
				       "--share '%s': the tag '%s' is longer than %u bytes",
				       cfg->share[i].path, cfg->share[i].tag, RUN_TAG_MAX);
		for (unsigned k = 0; k < i; k++)
			if (!strcmp(cfg->share[i].tag, cfg->share[k].tag))
				return err_set(e, -EINVAL,
					       "--share '%s': the tag '%s' is used twice",
					       cfg->share[i].path, cfg->share[i].tag);
	}
	return 0;
}
