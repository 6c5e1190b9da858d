/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process of benchmarks' own containers: this very program under another name, since it is
 * static and there. It writes a line and ends, or waits for the end of its container.
 */
#ifndef HUSK_RUNTIME_PAYLOAD_H
#define HUSK_RUNTIME_PAYLOAD_H

#include <stdbool.h>

#define PAYLOAD_NAME "husk-bench-payload"
#define PAYLOAD_WAIT "wait"

/* Is this program called as the payload? Then payload_main() is all that it does. */
bool payload_is(const char *argv0);
int payload_main(int argc, char **argv);

#endif
