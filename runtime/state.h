/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of a container on disk: the directory <root>/<id> with
 *   state.json   what this file writes, replaced whole
 *   config.json  the spec as it was at create; later edits of the bundle have no effect
 *   husk.sock    the sandbox process's socket
 *
 * The directory is made exclusively, so an id belongs to one creator. Its lock (flock on the
 * directory) is taken by create and delete; there is no lock of all containers. While the sandbox
 * process lives it is the only writer of state.json. A container's status is what the file says,
 * corrected by whether the process that it names still runs: same pid, same start time, not a
 * zombie.
 */
#ifndef HUSK_RUNTIME_STATE_H
#define HUSK_RUNTIME_STATE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/err.h"
#include "runtime/json.h"
#include "runtime/sizing.h"

#define STATE_ROOT "/run/husk"
#define STATE_FILE "state.json"
#define STATE_SPEC "config.json"
#define STATE_SOCK "husk.sock"

enum state_status { STATE_CREATING, STATE_CREATED, STATE_RUNNING, STATE_PAUSED, STATE_STOPPED };

struct state {
	char *id, *bundle, *rootfs, *version;
	struct json_object *annotations; /* NULL = none */
	enum state_status status;
	pid_t pid;		    /* the sandbox process; 0 = never made */
	uint64_t start_time;	    /* field 22 of its /proc/PID/stat */
	char created[40];	    /* RFC 3339 */
	struct json_object *cgroup; /* cgroup_from_json(); NULL = none of its own */
	struct sizing size;	    /* of the VM at boot; all 0 = not known yet */
	int exit_status;	    /* when stopped in an orderly way; -1 = unknown */
};

void state_free(struct state *s);
int state_dup(struct state **ret, const struct state *s) MUST_CHECK; /* 0 or -ENOMEM */
const char *state_status_name(enum state_status s);

/* The characters of an id, and no path: 0, or -EINVAL with the sentence. */
int state_check_id(const char *id, struct err *e) MUST_CHECK;

/*
 * -EEXIST "container with given ID already exists" when it does now; for a good message early. It is
 * state_make_dir() that decides.
 */
int state_check_free(const char *root, const char *id, struct err *e) MUST_CHECK;

/*
 * Makes <root>/<id>, locked. *ret_dir is its descriptor, the caller's. The parents of root are
 * made, too. -EEXIST "container with given ID already exists".
 */
int state_make_dir(const char *root, const char *id, int *ret_dir, struct err *e) MUST_CHECK;
/* Opens <root>/<id>. -ENOENT "container does not exist". */
int state_open_dir(const char *root, const char *id, int *ret_dir, struct err *e) MUST_CHECK;
/* Takes the lock. -ENOENT when the directory has been removed meanwhile. */
int state_lock(int dir, const char *id, struct err *e) MUST_CHECK;
/* Gives the lock back, though @dir stays open. */
void state_unlock(int dir);
/* Removes <rootdir>/<id> with all that can be in it. 0 or -errno. */
int state_remove_dir(int rootdir, const char *id);

int state_save(int dir, const struct state *s) MUST_CHECK; /* 0 or -errno */
/* Reads state.json and looks at the process. -ENOENT without a message: there is none yet. */
int state_load(int dir, struct state *ret, struct err *e) MUST_CHECK;
/* OCI state: status and pid as given, because a hook's differ from the file's. A new reference. */
struct json_object *state_to_json(const struct state *s, enum state_status status, bool for_user,
				  const char *owner);

/* Field 22 of /proc/PID/stat; 0 when there is no such process or it is a zombie. */
uint64_t state_start_time(pid_t pid);
bool state_alive(const struct state *s);
bool state_is_halted(const struct state *s); /* its process is stopped, by SIGSTOP or a debugger */

#endif
