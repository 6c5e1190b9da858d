/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SETUPINTERFACE. See net.h. The agent keeps the last description that was applied; a child works
 * out what has gone and puts up what is there now. All of what is there now, each time: every
 * message says "replace", so a description may be applied twice, and half of one is mended by the
 * next.
 *
 * Order: away go routes, neighbours, interfaces; then interfaces appear, lose addresses, get their
 * names (all at once: two may swap theirs), then settings, addresses, routes that need no gateway,
 * those that do, neighbours.
 */
#include "agent/net.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/child.h"
#include "agent/dns.h"
#include "base/fd.h"

#define PLATFORM    "/sys/bus/platform/devices"
#define DRIVER	    "/sys/bus/platform/drivers/virtio-mmio"
#define ID_NET	    1u /* virtio 1.2, 5: network device */
#define NICS_MAX    64u
#define OBJECTS_MAX 16384u /* routes or neighbours: what a host's table may hold, and no more */

struct nic {
	struct json_object *o;
	const char *device, *name; /* platform device; the name it shall have */
	char now[IFNAMSIZ];
	unsigned index;
};

struct net_job {
	struct json_object *old, *now;
};

/* The interface of a virtio slot: what it is called, and its number. */
static int find_nic(const char *device, char name[IFNAMSIZ], unsigned *ret_index)
{
	char path[PATH_MAX];
	struct dirent *de, *ne;
	int rc = -ENODEV;
	DIR *d, *n;

	(void)snprintf(path, sizeof(path), PLATFORM "/%s", device);
	d = opendir(path);
	while (rc < 0 && d && (de = readdir(d)) != NULL) {
		if (strncmp(de->d_name, "virtio", 6) != 0)
			continue;
		(void)snprintf(path, sizeof(path), PLATFORM "/%s/%s/net", device, de->d_name);
		n = opendir(path);
		while (rc < 0 && n && (ne = readdir(n)) != NULL) {
			if (ne->d_name[0] == '.' || strlen(ne->d_name) >= IFNAMSIZ)
				continue;
			(void)snprintf(name, IFNAMSIZ, "%.*s", IFNAMSIZ - 1, ne->d_name);
			*ret_index = if_nametoindex(name);
			rc = *ret_index ? 0 : -ENODEV;
		}
		if (n)
			(void)closedir(n);
	}
	if (d)
		(void)closedir(d);
	return rc;
}

/* The interfaces of a description. */
static int list_nics(struct json_object *doc, struct nic *nics, size_t *ret_cnt, struct err *e)
{
	struct json_object *arr = NULL;
	int rc = doc ? js_arr(doc, "interfaces", &arr, e) : 0;

	*ret_cnt = 0;
	if (rc == 0 && js_len(arr) > NICS_MAX)
		rc = err_set(e, -E2BIG, "interfaces: more than %u", NICS_MAX);
	for (size_t i = 0; rc == 0 && i < js_len(arr); i++) {
		struct nic *n = &nics[i];

		*n = (struct nic){0};
		rc = js_at_obj(arr, i, "interfaces", &n->o, e);
		rc = rc ? rc : js_str(n->o, "device", &n->device, e);
		rc = rc ? rc : js_str(n->o, "name", &n->name, e);
		if (rc == 0 && (!n->device || strchr(n->device, '/') || !n->name || !n->name[0] ||
				strlen(n->name) >= IFNAMSIZ || strchr(n->name, '/')))
			rc = err_set(e, -EINVAL, "interfaces: one without a device and a name");
		*ret_cnt = i + 1;
	}
	return rc;
}

static int talk(int fd, struct nlm *m, struct err *e, const char *what, struct json_object *o)
{
	int rc = nl_talk(fd, m);

	if (rc == 0)
		return 0;
	return err_set(e, rc, "%s %s: %s", what,
		       json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
							     JSON_C_TO_STRING_NOSLASHESCAPE),
		       strerror(-rc));
}

/* ---- away ---------------------------------------------------------------------------------------- */

static bool is_in(struct json_object *arr, struct json_object *o)
{
	for (size_t i = 0; i < js_len(arr); i++)
		if (json_object_equal(json_object_array_get_idx(arr, i), o))
			return true;
	return false;
}

typedef int (*netmsg_fn)(struct nlm *, struct json_object *, net_index_fn, bool, struct err *);

/* Takes back what @now does not have any more. What has gone by itself is fine. */
static void drop_objects(int fd, struct json_object *old, struct json_object *now, const char *key,
			 netmsg_fn fn)
{
	struct json_object *was = NULL, *is = NULL;
	struct err ignored = {0};

	if (!old || js_arr(old, key, &was, &ignored) < 0 || js_arr(now, key, &is, &ignored) < 0)
		return;
	for (size_t i = js_len(was); i-- > 0;) {
		struct json_object *o = json_object_array_get_idx(was, i);
		struct nlm m;

		if (!is_in(is, o) && fn(&m, o, if_nametoindex, true, &ignored) == 0)
			(void)!nl_talk(fd, &m);
	}
}

static void drop_addresses(int fd, const struct nic *was, const struct nic *is)
{
	struct json_object *old = NULL, *now = NULL;
	struct err ignored = {0};

	if (js_arr(was->o, "addresses", &old, &ignored) < 0 ||
	    js_arr(is->o, "addresses", &now, &ignored) < 0)
		return;
	for (size_t i = 0; i < js_len(old); i++) {
		struct json_object *o = json_object_array_get_idx(old, i);
		struct nlm m;

		if (!is_in(now, o) && netmsg_addr(&m, o, is->index, true, &ignored) == 0)
			(void)!nl_talk(fd, &m);
	}
}

static const struct nic *by_device(const struct nic *nics, size_t cnt, const char *device)
{
	for (size_t i = 0; i < cnt; i++)
		if (nics[i].device && strcmp(nics[i].device, device) == 0)
			return &nics[i];
	return NULL;
}

static void drop_all_addresses(int fd, const struct nic *old, size_t old_cnt, const struct nic *now,
			       size_t cnt)
{
	for (size_t i = 0; i < old_cnt; i++) {
		const struct nic *is = old[i].device ? by_device(now, cnt, old[i].device) : NULL;

		if (is)
			drop_addresses(fd, &old[i], is);
	}
}

/* Is there a NIC in that slot, with its driver? */
static bool has_nic(const char *device)
{
	char path[PATH_MAX];
	struct dirent *de;
	bool ret = false;
	DIR *d;

	(void)snprintf(path, sizeof(path), PLATFORM "/%s", device);
	d = opendir(path);
	while (!ret && d && (de = readdir(d)) != NULL) {
		auto_free char *id = NULL;

		if (strncmp(de->d_name, "virtio", 6) != 0)
			continue;
		(void)snprintf(path, sizeof(path), PLATFORM "/%s/%s/device", device, de->d_name);
		ret = fd_read_file(AT_FDCWD, path, 64, &id, NULL) == 0 &&
		      strtoul(id, NULL, 16) == ID_NET;
	}
	if (d)
		(void)closedir(d);
	return ret;
}

/*
 * No NIC stays that the description does not have, whether an older one had it or the kernel found it
 * by itself when it booted: the host wants to use its slot for something else.
 */
static void drop_nics(const struct nic *now, size_t cnt)
{
	DIR *d = opendir(DRIVER);
	struct dirent *de;

	while (d && (de = readdir(d)) != NULL)
		if (strstr(de->d_name, ".virtio_mmio") && !by_device(now, cnt, de->d_name) &&
		    has_nic(de->d_name))
			(void)!write_text(DRIVER "/unbind", de->d_name);
	if (d)
		(void)closedir(d);
}

/* ---- there --------------------------------------------------------------------------------------- */

static int appear(struct nic *n, struct err *e)
{
	int rc = device_bind(n->device, e);

	if (rc == 0 && find_nic(n->device, n->now, &n->index) < 0)
		rc = err_set(e, -ENODEV, "interface '%s': device '%s' is no NIC", n->name,
			     n->device);
	return rc;
}

static int rename_nic(int fd, struct nic *n, const char *name, struct err *e)
{
	struct nlm m;
	int rc;

	netmsg_rename(&m, n->index, name);
	rc = nl_talk(fd, &m);
	if (rc < 0)
		return err_sys(e, rc, "interface '%s': renaming it to '%s'", n->now, name);
	(void)snprintf(n->now, sizeof(n->now), "%s", name);
	return 0;
}

static int rename_all(int fd, struct nic *nics, size_t cnt, struct err *e)
{
	size_t wrong = 0;
	int rc = 0;

	for (size_t i = 0; i < cnt; i++)
		wrong += strcmp(nics[i].now, nics[i].name) != 0;
	/* One may be in the way of another: all of them step aside first. */
	for (size_t i = 0; wrong > 1 && rc == 0 && i < cnt; i++) {
		char aside[IFNAMSIZ];

		(void)snprintf(aside, sizeof(aside), "husk-%u", nics[i].index);
		if (strcmp(nics[i].now, nics[i].name) != 0)
			rc = rename_nic(fd, &nics[i], aside, e);
	}
	for (size_t i = 0; rc == 0 && i < cnt; i++)
		if (strcmp(nics[i].now, nics[i].name) != 0)
			rc = rename_nic(fd, &nics[i], nics[i].name, e);
	return rc;
}

static void set_sysctl(const char *family, const char *name, const char *key, const char *value)
{
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "/proc/sys/net/%s/conf/%s/%s", family, name, key);
	(void)!write_text(path, value);
}

static int set_up(int fd, struct nic *n, struct err *e)
{
	struct json_object *arr = NULL;
	bool ipv6 = true, up = true;
	struct nlm m;
	int rc = js_bool(n->o, "ipv6", &ipv6, e);

	rc = rc ? rc : js_bool(n->o, "up", &up, e);
	rc = rc ? rc : js_arr(n->o, "addresses", &arr, e);
	if (rc == 0)
		rc = netmsg_link(&m, n->o, n->index, e);
	if (rc < 0)
		return err_wrap(e, "interface '%s'", n->name);
	set_sysctl("ipv6", n->name, "disable_ipv6", ipv6 ? "0" : "1");
	rc = nl_talk(fd, &m);
	if (rc == 0) {
		netmsg_up(&m, n->index, up);
		rc = nl_talk(fd, &m);
	}
	if (rc < 0)
		return err_sys(e, rc, "interface '%s': its settings", n->name);
	for (size_t i = 0; i < js_len(arr); i++) {
		struct json_object *o;

		rc = js_at_obj(arr, i, "addresses", &o, e);
		rc = rc ? rc : netmsg_addr(&m, o, n->index, false, e);
		rc = rc ? rc : talk(fd, &m, e, "address", o);
		if (rc < 0)
			return err_wrap(e, "interface '%s'", n->name);
	}
	return 0;
}

static bool has_gateway(struct json_object *o)
{
	return js_has(o, "gateway") || js_has(o, "nexthops");
}

/* @pass 0: all; else routes without (1) or with (2) a gateway, which must be reachable first. */
static int add_objects(int fd, struct json_object *doc, const char *key, netmsg_fn fn,
		       unsigned pass, struct err *e)
{
	struct json_object *arr = NULL;
	int rc = js_arr(doc, key, &arr, e);

	if (rc == 0 && js_len(arr) > OBJECTS_MAX)
		rc = err_set(e, -E2BIG, "%s: more than %u", key, OBJECTS_MAX);
	for (size_t i = 0; rc == 0 && i < js_len(arr); i++) {
		struct json_object *o;
		struct nlm m;

		rc = js_at_obj(arr, i, key, &o, e);
		if (rc < 0 || (pass && has_gateway(o) != (pass == 2)))
			continue;
		rc = fn(&m, o, if_nametoindex, false, e);
		rc = rc ? rc : talk(fd, &m, e, key, o);
	}
	return rc;
}

int net_apply(struct json_object *old, struct json_object *now, struct err *e)
{
	struct nic was[NICS_MAX], is[NICS_MAX];
	size_t was_cnt = 0, cnt = 0;
	struct err ignored = {0};
	auto_fd fd = nl_open();
	int rc;

	if (fd < 0)
		return err_sys(e, fd, "netlink");
	(void)!list_nics(old, was, &was_cnt, &ignored);
	rc = list_nics(now, is, &cnt, e);
	if (rc < 0)
		return rc;
	drop_objects(fd, old, now, "routes", netmsg_route);
	drop_objects(fd, old, now, "neighbours", netmsg_neigh);
	drop_nics(is, cnt);
	for (size_t i = 0; rc == 0 && i < cnt; i++)
		rc = appear(&is[i], e);
	if (rc < 0)
		return rc;
	drop_all_addresses(fd, was, was_cnt, is, cnt);
	rc = rename_all(fd, is, cnt, e);
	for (size_t i = 0; rc == 0 && i < cnt; i++)
		rc = set_up(fd, &is[i], e);
	rc = rc ? rc : add_objects(fd, now, "routes", netmsg_route, 1, e);
	rc = rc ? rc : add_objects(fd, now, "routes", netmsg_route, 2, e);
	return rc ? rc : add_objects(fd, now, "neighbours", netmsg_neigh, 0, e);
}

/* ---- the request --------------------------------------------------------------------------------- */

static int net_job(void *arg, struct json_object *reply, struct err *e)
{
	const struct net_job *j = arg;

	(void)reply;
	return net_apply(j->old, j->now, e);
}

void net_setup(struct agent *a, uint32_t req, struct json_object *o)
{
	struct net_job j = {.old = a->net, .now = o};
	struct err e = {0};
	bool dns = false;

	if (js_bool(o, "dns", &dns, &e) < 0) {
		calls_reply_err(a, req, &e, 1);
		return;
	}
	dns_set(a, dns);
	if (job_start(a, req, net_job, &j, &e) < 0) {
		calls_reply_err(a, req, &e, 1);
		return;
	}
	/*
	 * The host waits for the answer before it describes the network again. A description that
	 * fails may have come half true, so it is the one to come from, all the same.
	 */
	json_object_put(a->net);
	a->net = json_object_get(o);
}
