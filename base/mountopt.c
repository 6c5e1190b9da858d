/* SPDX-License-Identifier: Apache-2.0 */
/* Mount options: see mountopt.h. */
#include "base/mountopt.h"

#include <errno.h>
#include <string.h>
#include <sys/mount.h>

static const struct attr {
	const char *name;
	uint64_t bits;
	bool clear, atime;
} attrs[] = {
    {"ro", MOUNT_ATTR_RDONLY, false, false},
    {"rw", MOUNT_ATTR_RDONLY, true, false},
    {"nosuid", MOUNT_ATTR_NOSUID, false, false},
    {"suid", MOUNT_ATTR_NOSUID, true, false},
    {"nodev", MOUNT_ATTR_NODEV, false, false},
    {"dev", MOUNT_ATTR_NODEV, true, false},
    {"noexec", MOUNT_ATTR_NOEXEC, false, false},
    {"exec", MOUNT_ATTR_NOEXEC, true, false},
    {"nosymfollow", MOUNT_ATTR_NOSYMFOLLOW, false, false},
    {"symfollow", MOUNT_ATTR_NOSYMFOLLOW, true, false},
    {"nodiratime", MOUNT_ATTR_NODIRATIME, false, false},
    {"diratime", MOUNT_ATTR_NODIRATIME, true, false},
    {"noatime", MOUNT_ATTR_NOATIME, false, true},
    {"atime", MOUNT_ATTR_RELATIME, false, true},
    {"relatime", MOUNT_ATTR_RELATIME, false, true},
    {"norelatime", MOUNT_ATTR_STRICTATIME, false, true},
    {"strictatime", MOUNT_ATTR_STRICTATIME, false, true},
    {"nostrictatime", MOUNT_ATTR_RELATIME, false, true},
};

static const struct {
	const char *name;
	unsigned long flags;
} propagations[] = {
    {"shared", MS_SHARED},
    {"slave", MS_SLAVE},
    {"private", MS_PRIVATE},
    {"unbindable", MS_UNBINDABLE},
    {"rshared", MS_SHARED | MS_REC},
    {"rslave", MS_SLAVE | MS_REC},
    {"rprivate", MS_PRIVATE | MS_REC},
    {"runbindable", MS_UNBINDABLE | MS_REC},
};

/* mount(8)'s words that stand for the default or for nothing that a kernel knows. */
static const char *const nothing[] = {
    "defaults", "loud",	   "silent", "nomand",	   "mand",    "noiversion",
    "iversion", "remount", "async",  "nolazytime", "norbind",
};

unsigned long mountopt_propagation(const char *s)
{
	for (size_t i = 0; i < ARRAY_LEN(propagations); i++)
		if (strcmp(s, propagations[i].name) == 0)
			return propagations[i].flags;
	return 0;
}

static bool add_attr(struct mountopt *m, const char *s, bool rec)
{
	uint64_t *set = rec ? &m->rec_set : &m->set, *clr = rec ? &m->rec_clr : &m->clr;

	for (size_t i = 0; i < ARRAY_LEN(attrs); i++) {
		const struct attr *t = &attrs[i];

		if (strcmp(s, t->name) != 0)
			continue;
		if (t->atime) {
			*set = (*set & ~(uint64_t)MOUNT_ATTR__ATIME) | t->bits;
			*clr |= MOUNT_ATTR__ATIME;
			*(rec ? &m->has_rec_atime : &m->has_atime) = true;
		} else if (t->clear) {
			*set &= ~t->bits;
			*clr |= t->bits;
		} else {
			*set |= t->bits;
			*clr &= ~t->bits;
		}
		return true;
	}
	return false;
}

int mountopt_add(struct mountopt *m, const char *s, struct err *e)
{
	unsigned long prop = mountopt_propagation(s);

	if (prop) {
		m->propagation = prop;
		return 0;
	}
	if (add_attr(m, s, false))
		return 0;
	/* Recursive forms: "r" before the name. "relatime" and the like were found above. */
	if (s[0] == 'r' && add_attr(m, s + 1, true))
		return 0;
	if (strcmp(s, "bind") == 0 || strcmp(s, "rbind") == 0) {
		m->bind = true;
		m->rbind |= s[0] == 'r';
		return 0;
	}
	if (strcmp(s, "tmpcopyup") == 0) {
		m->tmpcopyup = true;
		return 0;
	}
	if (strcmp(s, "idmap") == 0 || strcmp(s, "ridmap") == 0)
		return err_set(e, -EOPNOTSUPP, "mount option '%s': not supported", s);
	for (size_t i = 0; i < ARRAY_LEN(nothing); i++)
		if (strcmp(s, nothing[i]) == 0)
			return 0;
	if (!s[0])
		return 0;
	if (m->data_cnt == MOUNTOPT_DATA_MAX)
		return err_set(e, -E2BIG, "mount option '%s': more than %d options", s,
			       MOUNTOPT_DATA_MAX);
	m->data[m->data_cnt++] = s;
	return 0;
}
