/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.json: reading it, and what the host wants to know of it. See spec.h.
 */
#include "runtime/spec.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/compiler.h"
#include "base/fd.h"
#include "base/guestfs.h"

#define WHAT SPEC_WHAT

void spec_free(struct spec *s)
{
	json_put_ptr(&s->root);
	free(s->text);
	free(s->bundle);
	free(s->rootfs);
	memset(s, 0, sizeof(*s));
}

int spec_parse(struct spec *s, const char *text, size_t len, struct err *e)
{
	int rc;

	memset(s, 0, sizeof(*s));
	if (len > SPEC_SIZE_MAX)
		return err_set(e, -EFBIG, WHAT ": larger than %u MiB", SPEC_SIZE_MAX >> 20);
	rc = json_parse(text, len, WHAT, &s->root, e);
	if (rc == 0)
		rc = spec_check(s, e);
	if (rc < 0) {
		spec_free(s);
		return rc;
	}
	s->text = malloc(len + 1);
	if (!s->text) {
		spec_free(s);
		return err_set(e, -ENOMEM, WHAT ": out of memory");
	}
	memcpy(s->text, text, len);
	s->text[len] = '\0';
	s->text_len = len;
	s->readonly = json_flag(s->root, "root.readonly", false);
	s->terminal = json_flag(s->root, "process.terminal", false);
	s->cgroups_path = json_str(s->root, "linux.cgroupsPath", NULL);
	if (s->cgroups_path && !s->cgroups_path[0])
		s->cgroups_path = NULL;
	return 0;
}

static int resolve_rootfs(struct spec *s, struct err *e)
{
	const char *path = json_str(s->root, "root.path", "");
	char full[PATH_MAX], *real;
	struct stat st;

	if (!path[0])
		return err_set(e, -EINVAL, WHAT ": root.path: empty");
	if ((size_t)snprintf(full, sizeof(full), "%s%s%s", path[0] == '/' ? "" : s->bundle,
			     path[0] == '/' ? "" : "/", path) >= sizeof(full))
		return err_set(e, -ENAMETOOLONG, WHAT ": root.path: too long");
	real = realpath(full, NULL);
	if (!real)
		return err_sys(e, -errno, "rootfs '%s'", full);
	s->rootfs = real;
	if (stat(real, &st) < 0)
		return err_sys(e, -errno, "rootfs '%s'", real);
	if (!S_ISDIR(st.st_mode))
		return err_set(e, -ENOTDIR, "rootfs '%s': not a directory", real);
	return 0;
}

int spec_load(struct spec *s, const char *bundle, struct err *e)
{
	auto_free char *text = NULL;
	char *real = realpath(bundle, NULL);
	auto_fd dir = -1;
	size_t len = 0;
	int rc;

	memset(s, 0, sizeof(*s));
	if (!real)
		return err_sys(e, -errno, "bundle '%s'", bundle);
	dir = open(real, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0) {
		rc = err_sys(e, -errno, "bundle '%s'", real);
		free(real);
		return rc;
	}
	rc = fd_read_file(dir, "config.json", SPEC_SIZE_MAX, &text, &len);
	if (rc < 0)
		rc = err_sys(e, rc, "%s/config.json", real);
	else
		rc = spec_parse(s, text, len, e);
	if (rc < 0) {
		free(real);
		return rc;
	}
	s->bundle = real;
	rc = resolve_rootfs(s, e);
	if (rc < 0)
		spec_free(s);
	return rc;
}

int spec_mount_options(struct json_object *mount, struct mountopt *ret, struct err *e)
{
	struct json_object *o = json_at(mount, "options");
	int rc = 0;

	memset(ret, 0, sizeof(*ret));
	for (size_t i = 0; rc == 0 && o && i < json_object_array_length(o); i++)
		rc = mountopt_add(ret, json_object_get_string(json_object_array_get_idx(o, i)), e);
	return rc;
}

enum spec_mount_kind spec_mount_kind(struct json_object *mount)
{
	const char *type = json_str(mount, "type", "");
	struct json_object *o = json_at(mount, "options");
	bool remount = false;

	if (!strcmp(type, "bind"))
		return SPEC_MOUNT_BIND;
	for (size_t i = 0; o && i < json_object_array_length(o); i++) {
		const char *opt = json_object_get_string(json_object_array_get_idx(o, i));

		if (!strcmp(opt, "bind") || !strcmp(opt, "rbind"))
			return SPEC_MOUNT_BIND;
		remount |= !strcmp(opt, "remount");
	}
	return guestfs_is(type) || remount ? SPEC_MOUNT_GUEST : SPEC_MOUNT_HOST;
}

const char *spec_path(const struct spec *s)
{
	struct json_object *env = json_at(s->root, "process.env");

	for (size_t i = 0; env && i < json_object_array_length(env); i++) {
		const char *v = json_object_get_string(json_object_array_get_idx(env, i));

		if (!strncmp(v, "PATH=", 5))
			return v + 5;
	}
	return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

/* Is this net.*.conf.IF.* or net.*.neigh.IF.*? The first separator is that of the whole (sysctl(8)). */
static bool names_interface(const char *key)
{
	static const char *const not_one[] = {"all", "default", "lo"};
	const char sep[2] = {key[strcspn(key, "./")], '\0'};
	auto_free char *copy = strdup(key);
	char *word[4] = {0}, *at = copy;

	for (size_t i = 0; copy && i < ARRAY_LEN(word); i++)
		word[i] = strsep(&at, sep);
	if (!word[3] || strcmp(word[0], "net") != 0 ||
	    (strcmp(word[2], "conf") != 0 && strcmp(word[2], "neigh") != 0))
		return !copy; /* without memory nothing is said to be ready */
	for (size_t i = 0; i < ARRAY_LEN(not_one); i++)
		if (!strcmp(word[3], not_one[i]))
			return false;
	return true;
}

bool spec_names_interfaces(const struct spec *s)
{
	struct json_object *all = json_at(s->root, "linux.sysctl");

	if (!all)
		return false;
	json_object_object_foreach(all, key, value)
	{
		(void)value;
		if (names_interface(key))
			return true;
	}
	return false;
}
