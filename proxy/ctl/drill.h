/*
 * drill.h - `isthmus ctl drill`: takes a cluster out of a service, counts where the calls go, puts
 * it back, and judges.
 *
 * Asks the admin port of control for the drill and renews it each second; counts by the metrics of
 * the nodes. docs/drill.md says what is measured and how it is judged.
 */
#ifndef ISTHMUS_CTL_DRILL_H
#define ISTHMUS_CTL_DRILL_H

/* The words behind "drill". Returns the exit status: 0 the drill passed, 1 it did not or was
 * refused, 2 wrong usage. */
int ctl_drill(int argc, char **argv);

#endif
