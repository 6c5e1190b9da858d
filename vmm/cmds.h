/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verbs of the vmm program. Each gets its own argv (argv[0] is the verb) and returns the exit
 * status: 0, 1 for a failure that was reported on stderr, 2 for misuse.
 */
#ifndef HUSK_VMM_CMDS_H
#define HUSK_VMM_CMDS_H

int cmd_bench(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_ctl(int argc, char **argv);
int cmd_run(int argc, char **argv);

#endif
