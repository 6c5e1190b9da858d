/* SPDX-License-Identifier: Apache-2.0 */
/* Names of capabilities (capabilities(7)), as the OCI spec writes them. A pure table. */
#ifndef HUSK_BASE_CAPNAME_H
#define HUSK_BASE_CAPNAME_H

/* By number; NULL after the last. */
extern const char *const capname_all[];
/* -1 = unknown */
int capname_number(const char *name);

#endif
