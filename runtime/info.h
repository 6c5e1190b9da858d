/* SPDX-License-Identifier: Apache-2.0 */
/* What the program says about itself: `husk --version`, `husk features`. */
#ifndef HUSK_RUNTIME_INFO_H
#define HUSK_RUNTIME_INFO_H

#include <stdio.h>
#include "runtime/json.h"

void info_version(FILE *f);
const char *info_commit(void);
struct json_object *info_features(void); /* a new reference */

#endif
