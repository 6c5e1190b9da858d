/* SPDX-License-Identifier: Apache-2.0 */
/* See fsmake.h. */
#include "base/fsmake.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/fd.h"

/* The kernel's own words for a failure, if it has any: "e tmpfs: Bad value for 'size'". */
static int fs_error(int fs, int code, const char *type, const char *opt, struct err *e)
{
	char buf[256];
	ssize_t n = read(fs, buf, sizeof(buf) - 1);

	if (n > 2) {
		buf[n] = '\0';
		buf[strcspn(buf, "\n")] = '\0';
		return err_set(e, code, "mounting %s: %s", type, buf + 2);
	}
	return err_sys(e, code, "mounting %s%s%s", type, opt ? ": option " : "", opt ? opt : "");
}

static int fs_option(int fs, const char *opt)
{
	const char *eq = strchr(opt, '=');
	char key[256];

	if (!eq)
		return fsconfig(fs, FSCONFIG_SET_FLAG, opt, NULL, 0) < 0 ? -errno : 0;
	if ((size_t)snprintf(key, sizeof(key), "%.*s", (int)(eq - opt), opt) >= sizeof(key))
		return -EINVAL;
	return fsconfig(fs, FSCONFIG_SET_STRING, key, eq + 1, 0) < 0 ? -errno : 0;
}

int fs_make(const char *type, const char *source, const char *const *opts, size_t cnt,
	    struct err *e)
{
	auto_fd fs = fsopen(type, FSOPEN_CLOEXEC);
	int fd, rc;

	if (fs < 0)
		return err_sys(e, -errno, "mounting %s", type);
	if (source && source[0] && fsconfig(fs, FSCONFIG_SET_STRING, "source", source, 0) < 0)
		return fs_error(fs, -errno, type, "source", e);
	for (size_t i = 0; i < cnt; i++) {
		rc = fs_option(fs, opts[i]);
		if (rc < 0)
			return fs_error(fs, rc, type, opts[i], e);
	}
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return fs_error(fs, -errno, type, NULL, e);
	fd = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	return fd < 0 ? fs_error(fs, -errno, type, NULL, e) : fd;
}
