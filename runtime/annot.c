/* SPDX-License-Identifier: Apache-2.0 */
/* Annotations. See annot.h. */
#include "runtime/annot.h"

#include <errno.h>
#include <fnmatch.h>
#include <string.h>

#include "base/compiler.h"
#include "vmm/machine.h"

#define CRI_PREFIX  "io.kubernetes.cri."
#define CRIO_PREFIX "io.kubernetes.cri-o."

/* Decimal digits alone, up to @max. */
static int parse_number(const char *s, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;

	if (!*s || strlen(s) != strspn(s, "0123456789"))
		return -EINVAL;
	for (; *s; s++)
		if (__builtin_mul_overflow(v, UINT64_C(10), &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
			return -ERANGE;
	if (v > max)
		return -ERANGE;
	*ret = v;
	return 0;
}

/* A path whose every component says what it is: what a pattern allows cannot lead elsewhere. */
static bool is_plain_path(const char *p)
{
	if (*p != '/')
		return false;
	while (*p) {
		size_t n = strcspn(++p, "/");

		if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return false;
		p += n;
	}
	return true;
}

static bool path_allowed(const struct config *c, const char *path)
{
	struct json_object *l = c->annotation_paths;

	for (size_t i = 0; l && i < json_object_array_length(l); i++)
		if (fnmatch(json_object_get_string(json_object_array_get_idx(l, i)), path,
			    FNM_PATHNAME | FNM_NOESCAPE) == 0)
			return true;
	return false;
}

/* Bytes a second. 0 would be a way around what is said elsewhere about no limit. */
static int set_rate(uint64_t *to, const char *v, struct err *e)
{
	if (config_size(v, to) < 0 || *to == 0)
		return err_set(e, -EINVAL, "'%.64s' is not a size such as 10M", v);
	return 0;
}

static int set_ours(struct annot *a, const char *word, const char *v, const struct config *c,
		    struct err *e)
{
	uint64_t n = 0;

	if (!strcmp(word, "memory")) {
		if (config_size(v, &a->memory) < 0 || a->memory == 0)
			return err_set(e, -EINVAL, "'%.64s' is not a size such as 512M", v);
	} else if (!strcmp(word, "vcpus")) {
		if (parse_number(v, MACHINE_CPUS_MAX, &n) < 0 || n == 0)
			return err_set(e, -EINVAL, "'%.64s' is not a number from 1 to %u", v,
				       MACHINE_CPUS_MAX);
		a->vcpus = (unsigned)n;
	} else if (!strcmp(word, "kernel")) {
		if (!is_plain_path(v))
			return err_set(e, -EINVAL, "'%.200s' is not a plain absolute path", v);
		if (!path_allowed(c, v))
			return err_set(e, -EPERM,
				       "'%.200s' matches no pattern of annotation_paths of the "
				       "configuration",
				       v);
		a->kernel = v;
	} else if (!strcmp(word, "network_rx_rate")) {
		return set_rate(&a->rx_rate, v, e);
	} else if (!strcmp(word, "network_tx_rate")) {
		return set_rate(&a->tx_rate, v, e);
	} else {
		if (config_check_params(v, e) < 0)
			return -EINVAL;
		a->kernel_params = v;
	}
	return 0;
}

static int read_ours(struct annot *a, const char *name, const char *v, const struct config *c,
		     struct err *e)
{
	static const char *const words[] = {"memory",	     "vcpus",		"kernel",
					    "kernel_params", "network_rx_rate", "network_tx_rate"};
	const char *word = name + sizeof(ANNOT_PREFIX) - 1;
	size_t i = 0;

	while (i < ARRAY_LEN(words) && strcmp(words[i], word) != 0)
		i++;
	if (i == ARRAY_LEN(words)) {
		log_warn("annotation %.100s: unknown, ignored", name);
		return 0;
	}
	if (!config_lists(c->annotations, word))
		return err_set(e, -EPERM,
			       "annotation %s: not allowed: enable_annotations of the "
			       "configuration does not have '%s'",
			       name, word);
	return set_ours(a, word, v, c, e) < 0 ? err_wrap(e, "annotation %s", name) : 0;
}

/* An engine's own figures: a strange one is left out, not a reason to refuse a pod. */
static void read_cri(struct annot *a, const char *name, const char *v)
{
	const char *word = name + sizeof(CRI_PREFIX) - 1;
	uint64_t n = 0;
	int rc = 0;

	if (!strcmp(word, "sandbox-memory")) {
		rc = parse_number(v, INT64_MAX, &n);
		a->pod_memory = (int64_t)n;
	} else if (!strcmp(word, "sandbox-cpu-quota")) {
		/* -1: none */
		rc = v[0] == '-' ? 0 : parse_number(v, INT64_MAX, &n);
		a->pod_quota = (int64_t)n;
	} else if (!strcmp(word, "sandbox-cpu-period")) {
		rc = parse_number(v, INT64_MAX, &n);
		a->pod_period = n;
	} else if (!strcmp(word, "sandbox-cpu-shares")) {
		rc = parse_number(v, INT64_MAX, &n);
		a->pod_shares = n;
	}
	if (rc < 0)
		log_warn("annotation %s: '%.64s' is not a number, ignored", name, v);
}

/* The same from CRI-O: LinuxContainerResources of the CRI as JSON. */
static void read_crio(struct annot *a, const char *v)
{
	static const struct json_rule rules[] = {{"cpu_period", JSON_I64, false},
						 {"cpu_quota", JSON_I64, false},
						 {"cpu_shares", JSON_I64, false},
						 {"memory_limit_in_bytes", JSON_I64, false}};
	auto_json o = NULL;
	struct err e = {0};

	if (json_parse(v, strlen(v), CRIO_PREFIX "PodLinuxResources", &o, &e) < 0 ||
	    json_check(o, CRIO_PREFIX "PodLinuxResources", rules, ARRAY_LEN(rules), &e) < 0) {
		log_warn("annotation %s; ignored", e.msg);
		return;
	}
	a->pod_memory = MAX(json_i64(o, "memory_limit_in_bytes", 0), 0);
	a->pod_quota = MAX(json_i64(o, "cpu_quota", 0), 0);
	a->pod_period = (uint64_t)MAX(json_i64(o, "cpu_period", 0), 0);
	a->pod_shares = (uint64_t)MAX(json_i64(o, "cpu_shares", 0), 0);
}

/* Is this the container that stands for its pod, by the annotation @name? */
static bool is_sandbox(struct json_object *annotations, const char *name)
{
	struct json_object *o = NULL;

	return json_object_object_get_ex(annotations, name, &o) &&
	       !strcmp(json_object_get_string(o), "sandbox");
}

int annot_read(struct annot *ret, struct json_object *annotations, const struct config *c,
	       struct err *e)
{
	bool cri, crio;

	memset(ret, 0, sizeof(*ret));
	if (!annotations)
		return 0;
	cri = is_sandbox(annotations, CRI_PREFIX "container-type");
	crio = is_sandbox(annotations, CRIO_PREFIX "ContainerType");
	json_object_object_foreach(annotations, name, v)
	{
		const char *s = json_object_get_string(v);
		int rc = 0;

		if (!strncmp(name, ANNOT_PREFIX, sizeof(ANNOT_PREFIX) - 1))
			rc = read_ours(ret, name, s, c, e);
		else if (cri && !strncmp(name, CRI_PREFIX, sizeof(CRI_PREFIX) - 1))
			read_cri(ret, name, s);
		else if (crio && !strcmp(name, CRIO_PREFIX "PodLinuxResources"))
			read_crio(ret, s);
		if (rc < 0)
			return rc;
	}
	return 0;
}
