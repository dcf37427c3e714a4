/*
 * audit.h - `isthmus ctl audit verify`: reads audit logs and says whether they are whole.
 *
 * Asks no process: files in the order given, "-" or nothing is standard input.
 */
#ifndef ISTHMUS_CTL_AUDIT_H
#define ISTHMUS_CTL_AUDIT_H

/* The words behind "audit". Returns the exit status: 0 whole, 1 not, 2 wrong usage. */
int ctl_audit(int argc, char **argv);

#endif
