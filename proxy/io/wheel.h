/*
 * wheel.h - a hierarchical timing wheel: the timers of one loop, filed by the tick at which they
 * fire.
 *
 * Seven levels of 64 slots. Level 0 has a slot for each tick of about 1 ms; a slot of a higher
 * level spans 64 slots of the one below it and is spread over that when its time comes. A timer
 * sits at the level of the highest group of six bits in which its tick differs from the wheel's, so
 * that starting and stopping touch one list. Ticks are absolute and the levels span more than a
 * century of uptime: nothing wraps.
 *
 * Inside of proxy/io only; everybody else uses timer_start() of loop.h.
 *
 * Owner: whoever embeds it. Thread: the loop's. Units: ns of the monotonic clock.
 */
#ifndef ISTHMUS_IO_WHEEL_H
#define ISTHMUS_IO_WHEEL_H

#include "proxy/io/loop.h"

#define WHEEL_TICK_SHIFT 20 /* a tick is 2^20 ns */
#define WHEEL_LEVELS     7
#define WHEEL_SLOT_BITS  6
#define WHEEL_SLOTS      (1U << WHEEL_SLOT_BITS)

struct wheel {
    uint64_t next_tick; /* the first tick that has not been handled */
    uint64_t
        occupied[WHEEL_LEVELS]; /* one bit a slot; a set bit may be stale, a clear one never is */
    struct list slots[WHEEL_LEVELS][WHEEL_SLOTS];
    size_t n_timers;
    uint64_t
        soonest_tick; /* nothing is due before it; may be too early where timers were stopped */
};

void wheel_init(struct wheel *wheel, uint64_t now_ns);

/* Files a timer whose deadline_ns is set and that is in no list. */
void wheel_add(struct wheel *wheel, struct timer *timer);
/* Takes out a timer that is filed, and clears its deadline. */
void wheel_remove(struct wheel *wheel, struct timer *timer);

/* When wheel_expire() has something to do next: at or before the first deadline's tick. UINT64_MAX:
 * nothing runs. It is asked for in every turn and costs a comparison. */
uint64_t wheel_wake_ns(const struct wheel *wheel);

/* Fires what is due. A timer that is started meanwhile does not fire twice for one tick. */
void wheel_expire(struct wheel *wheel, uint64_t now_ns);

#endif
