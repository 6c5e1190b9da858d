/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file system of its own from type, source and options (fsopen(2) and what follows), not attached
 * anywhere yet. Any thread.
 */
#ifndef HUSK_BASE_FSMAKE_H
#define HUSK_BASE_FSMAKE_H

#include <stddef.h>

#include "base/err.h"

/*
 * @opts: "key" or "key=value", for the file system itself; @source may be NULL. Returns a descriptor
 * for move_mount(2), or -errno with a sentence that has the kernel's own words where it has any
 * ("mounting tmpfs: Bad value for 'size'").
 */
int fs_make(const char *type, const char *source, const char *const *opts, size_t cnt,
	    struct err *e) MUST_CHECK;

#endif
