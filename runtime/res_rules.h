/* SPDX-License-Identifier: Apache-2.0 */
/* The fields of linux.resources that a container has at its creation and that an update may change, as rules of
 * runtime/json.h: what both readers of them share. */
#ifndef HUSK_RUNTIME_RES_RULES_H
#define HUSK_RUNTIME_RES_RULES_H

#include "runtime/json.h"

/* clang-format off */
#define RES_RULES_MEMORY                                                                           \
	{"memory", JSON_OBJ, false}, {"memory.limit", JSON_I64, false},                            \
	{"memory.reservation", JSON_I64, false}, {"memory.swap", JSON_I64, false}

#define RES_RULES_CPU                                                                              \
	{"cpu", JSON_OBJ, false}, {"cpu.shares", JSON_U64, false},                                 \
	{"cpu.quota", JSON_I64, false}, {"cpu.period", JSON_U64, false},                           \
	{"cpu.burst", JSON_U64, false}, {"cpu.idle", JSON_I64, false},                             \
	{"cpu.realtimeRuntime", JSON_I64, false}, {"cpu.realtimePeriod", JSON_U64, false},         \
	{"cpu.cpus", JSON_STR, false}, {"cpu.mems", JSON_STR, false}

#define RES_RULES_PIDS {"pids", JSON_OBJ, false}, {"pids.limit", JSON_I64, false}
/* clang-format on */

#endif
