/* SPDX-License-Identifier: Apache-2.0 */
/* PSCONTAINER: the processes of a container, as numbered in its pid name space. In a job's child.
 */
#ifndef HUSK_AGENT_PS_H
#define HUSK_AGENT_PS_H

#include <json-c/json.h>

#include "base/err.h"

int ps_job(void *container, struct json_object *reply, struct err *e) MUST_CHECK;

#endif
