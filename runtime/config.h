/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The administrator's configuration, /etc/husk/husk.conf: JSON with comments, every key of which is
 * a row of one table (config.c) and a paragraph of husk.conf(5). Read by the verbs that make or
 * judge something; those that end and clean up do without, so that a broken file keeps nothing
 * alive. Functions of no state but the structure's.
 *
 * A key more: a field here, a row in the table, its default in config_defaults(), the manual page.
 */
#ifndef HUSK_RUNTIME_CONFIG_H
#define HUSK_RUNTIME_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/log.h"
#include "runtime/json.h"

#define CONFIG_PATH	  "/etc/husk/husk.conf"
#define CONFIG_SIZE_MAX	  (1u << 20) /* bytes of the file */
#define CONFIG_PARAMS_MAX 1024u	     /* characters of kernel_params */

struct config {
	char *path;		 /* the file that was read; NULL = there is none */
	struct json_object *doc; /* all strings below are the document's, or static */

	const char *kernel, *image; /* absolute paths; NULL = beside the program (assets.h) */
	const char *kernel_params;  /* appended to the guest kernel's command line; "" */
	struct {
		uint64_t standard; /* "default": guest memory of a container without a limit */
		uint64_t min, max; /* guest memory, whatever is asked for; max 0 = the host's */
		uint64_t guest;	   /* "guest_overhead": guest kernel and agent beside the limit */
		uint64_t host;	   /* "host_overhead": VMM and page tables beside guest memory */
		bool balloon;	   /* free memory goes back to the host */
	} memory;		   /* bytes */
	struct {
		uint64_t standard; /* "default" */
		uint64_t max;	   /* 0 = as many as the host has */
	} vcpus;
	struct {
		uint64_t model;		   /* enum net_model */
		uint64_t rx_rate, tx_rate; /* bytes a second of each NIC; 0 = no limit */
		uint64_t rx_packets, tx_packets;
		uint64_t burst_ms; /* how much at once: what comes in that time */
	} net;			   /* "network" */
	/* io.husk.* annotations that containers may use, by their last word: a JSON array. */
	struct json_object *annotations;
	/* Host files that such annotations may name: glob patterns, a JSON array. */
	struct json_object *annotation_paths;
	uint64_t log_level; /* enum log_level */
	bool debug;
};

void config_defaults(struct config *c);
/* Frees what config_load() or config_parse() made; a zeroed one is fine. */
void config_free(struct config *c);

/*
 * @path from --config: it has to exist; NULL: CONFIG_PATH, which need not. Fills @ret with the
 * defaults and what the file says. Errors name file and key.
 */
int config_load(struct config *ret, const char *path, struct err *e) MUST_CHECK;
/* The text alone, @what for the errors. For tests and fuzzing, too. */
int config_parse(struct config *ret, const char *what, const char *text, size_t len,
		 struct err *e) MUST_CHECK;

/* Every key with its value in force; a new reference, NULL without memory. */
struct json_object *config_to_json(const struct config *c);
/* The names of all keys ("memory.default"), NULL at the end of the table. */
const char *config_key_name(size_t i);

/* Is @name in @list, an array of strings (NULL = empty)? */
bool config_lists(struct json_object *list, const char *name);

/*
 * "512M": a whole number and K, M, G or T, no sign, no space. 0, or -EINVAL (-ERANGE when it does
 * not fit).
 */
int config_size(const char *text, uint64_t *ret) MUST_CHECK;
/* Words for a kernel command line: printable ASCII without quotes, at most CONFIG_PARAMS_MAX. */
int config_check_params(const char *text, struct err *e) MUST_CHECK;

#endif
