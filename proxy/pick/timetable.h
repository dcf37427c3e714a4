/*
 * timetable.h - what falls due when: a heap of appointments, the earliest first.
 *
 * An appointment is embedded in what it is for and has at most one time. Moving it, cancelling it
 * and taking the earliest cost O(log n).
 *
 * Owner: whoever embeds it; timetable_fini() frees. {0} is empty. Thread: one at a time. Units: ns.
 */
#ifndef ISTHMUS_PICK_TIMETABLE_H
#define ISTHMUS_PICK_TIMETABLE_H

#include <stddef.h>
#include <stdint.h>

struct appointment {
    uint64_t due_ns;
    size_t place; /* in the heap, from 1; 0: none is made */
};

struct timetable {
    struct appointment **heap;
    size_t len, cap;
};

void timetable_fini(struct timetable *timetable);
/* Makes it, or moves it. */
void timetable_set(struct timetable *timetable, struct appointment *appointment, uint64_t due_ns);
/* Harmless when none is made. */
void timetable_cancel(struct timetable *timetable, struct appointment *appointment);
/* Takes out the earliest if it is due by now, else NULL. */
struct appointment *timetable_next(struct timetable *timetable, uint64_t now_ns);

#endif
