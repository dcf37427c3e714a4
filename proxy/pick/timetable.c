#include "proxy/pick/timetable.h"

#include <string.h>

#include "proxy/base/mem.h"

void timetable_fini(struct timetable *timetable)
{
    mem_free(timetable->heap);
    *timetable = (struct timetable){0};
}

static void put(struct timetable *timetable, size_t place, struct appointment *appointment)
{
    timetable->heap[place - 1] = appointment;
    appointment->place = place;
}

static uint64_t due_at(const struct timetable *timetable, size_t place)
{
    return timetable->heap[place - 1]->due_ns;
}

static void rise(struct timetable *timetable, struct appointment *appointment)
{
    size_t place = appointment->place;
    while (place > 1 && due_at(timetable, place / 2) > appointment->due_ns) {
        put(timetable, place, timetable->heap[place / 2 - 1]);
        place /= 2;
    }
    put(timetable, place, appointment);
}

static void sink(struct timetable *timetable, struct appointment *appointment)
{
    size_t place = appointment->place;
    for (size_t child = place * 2; child <= timetable->len; child = place * 2) {
        if (child < timetable->len && due_at(timetable, child + 1) < due_at(timetable, child))
            child++;
        if (due_at(timetable, child) >= appointment->due_ns)
            break;
        put(timetable, place, timetable->heap[child - 1]);
        place = child;
    }
    put(timetable, place, appointment);
}

/* Doubled when it is full, which is rarer the larger it is. */
static void make_room(struct timetable *timetable)
{
    if (timetable->len < timetable->cap)
        return;
    const size_t cap = timetable->cap ? timetable->cap * 2 : 64;
    struct appointment **heap = mem_new_array(struct appointment *, cap);
    if (timetable->len > 0)
        memcpy(heap, timetable->heap, timetable->len * sizeof(*heap));
    mem_free(timetable->heap);
    timetable->heap = heap;
    timetable->cap = cap;
}

void timetable_set(struct timetable *timetable, struct appointment *appointment, uint64_t due_ns)
{
    appointment->due_ns = due_ns;
    if (appointment->place == 0) {
        make_room(timetable);
        put(timetable, ++timetable->len, appointment);
    }
    rise(timetable, appointment);
    sink(timetable, appointment);
}

void timetable_cancel(struct timetable *timetable, struct appointment *appointment)
{
    const size_t place = appointment->place;
    if (place == 0)
        return;
    struct appointment *last = timetable->heap[--timetable->len];
    appointment->place = 0;
    if (last == appointment)
        return;
    put(timetable, place, last);
    rise(timetable, last);
    sink(timetable, last);
}

struct appointment *timetable_next(struct timetable *timetable, uint64_t now_ns)
{
    if (timetable->len == 0 || due_at(timetable, 1) > now_ns)
        return NULL;
    struct appointment *first = timetable->heap[0];
    timetable_cancel(timetable, first);
    return first;
}
