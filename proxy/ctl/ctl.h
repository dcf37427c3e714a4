/*
 * ctl.h - `isthmus ctl`: asks the admin port of a proxy or a control process and prints what it
 * says.
 *
 *   isthmus ctl [--address HOST:PORT] [--json] status|services|endpoints|connections|certs [FILTER]
 *
 * Tables for people, --json for programs (the server's own JSON, unchanged). Exit status 0, 1 when
 * the process cannot be reached or says no, 2 for wrong usage. Thread: the main one.
 */
#ifndef ISTHMUS_CTL_CTL_H
#define ISTHMUS_CTL_CTL_H

/* argv starts behind "ctl". Returns the exit status. */
int ctl_main(int argc, char **argv);

#endif
