/* SPDX-License-Identifier: Apache-2.0 */
/* Signals as people and engines write them: 9, KILL, SIGKILL, RTMIN+3. */
#ifndef HUSK_RUNTIME_SIGNAME_H
#define HUSK_RUNTIME_SIGNAME_H

/* 1..64, or -EINVAL. */
int signal_parse(const char *text);

#endif
