/*
 * control_process.h - `isthmus control`: the control room of a cluster with its admin ports and
 * signals around it.
 *
 * Owner: main. Thread: the main one.
 */
#ifndef ISTHMUS_RUN_CONTROL_PROCESS_H
#define ISTHMUS_RUN_CONTROL_PROCESS_H

#include "config/bootstrap.h"

/* Runs until SIGTERM or SIGINT. Returns the exit status: 0, or 1 when it could not start, with the
 * reason logged. */
int control_process_run(const struct control_config *config);

#endif
