/*
 * state_dir.h - one process a state folder: two that wrote the same certificates, addresses or keys
 * would undo each other. And a folder that nobody else can write into: whoever could would choose
 * our keys, or put links in their places.
 *
 * Thread: the main one.
 */
#ifndef ISTHMUS_RUN_STATE_DIR_H
#define ISTHMUS_RUN_STATE_DIR_H

#include "proxy/base/text.h"

/* Makes the folder (mode 0700) if it is not there and takes it for this process; the descriptor
 * holds it until the process ends. It must belong to the process's user or to root, and neither
 * group nor others may write into it; what is in it is not looked at, nor are the folders above,
 * and one that is refused is left as it is. 0, or a negative enum err with the folder and the
 * reason in *why. */
MUST_USE int state_dir_take(struct str dir, int *out_fd, struct text *why);
void state_dir_release(int fd); /* -1 is fine */

#endif
