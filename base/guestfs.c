/* SPDX-License-Identifier: Apache-2.0 */
/* See guestfs.h. */
#include "base/guestfs.h"

#include <string.h>

#include "base/compiler.h"

bool guestfs_is(const char *type)
{
	static const char *const types[] = {
	    "proc",	 "sysfs",      "tmpfs",	   "devpts",	  "mqueue", "cgroup",
	    "cgroup2",	 "securityfs", "debugfs",  "tracefs",	  "bpf",    "ramfs",
	    "hugetlbfs", "fusectl",    "configfs", "binfmt_misc", "pstore",
	};

	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (strcmp(type, types[i]) == 0)
			return true;
	return false;
}
