/*
 * events.h - what will happen, in the order of virtual time; of one time, in the order in which it
 * was made.
 *
 * A flow is named by its number and its attempt, so that an event about an attempt that is over is
 * seen to be about nothing.
 *
 * Owner: a run. Units: ns of virtual time.
 */
#ifndef ISTHMUS_BENCH_SIM_EVENTS_H
#define ISTHMUS_BENCH_SIM_EVENTS_H

#include <stddef.h>
#include <stdint.h>

enum event_kind {
    EVENT_ARRIVAL,  /* subject: client */
    EVENT_ATTEMPT,  /* subject: flow: the connect succeeds or is refused */
    EVENT_TIMEOUT,  /* flow: nobody answered the connect */
    EVENT_RACE,     /* flow: nobody has answered the connect for long */
    EVENT_REQUEST,  /* flow: reaches the replica */
    EVENT_SERVED,   /* flow: leaves its slot */
    EVENT_ANSWER,   /* flow: the answer is back */
    EVENT_BREAK,    /* flow: its end is felt */
    EVENT_GIVEN_UP, /* flow */
    EVENT_CHANGE,   /* subject: change */
    EVENT_TICK,
};

struct event {
    uint64_t at_ns, order, attempt;
    enum event_kind kind;
    uint32_t subject;
};

struct events { /* a heap; {0} is empty */
    struct event *heap;
    size_t n, cap;
    uint64_t n_made;
};

void events_add(struct events *events, uint64_t at_ns, enum event_kind kind, uint32_t subject,
                uint64_t attempt);
/* The next one; there is one. */
struct event events_take(struct events *events);
void events_fini(struct events *events);

#endif
