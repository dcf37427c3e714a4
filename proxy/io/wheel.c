#include "proxy/io/wheel.h"

#define LAST_TICK ((UINT64_C(1) << (WHEEL_LEVELS * WHEEL_SLOT_BITS)) - 1)

static uint64_t tick_after(uint64_t ns) /* the first tick that starts at or after ns */
{
    uint64_t tick = ns >> WHEEL_TICK_SHIFT;
    return tick + ((tick << WHEEL_TICK_SHIFT) != ns);
}

void wheel_init(struct wheel *wheel, uint64_t now_ns)
{
    *wheel = (struct wheel){.next_tick = now_ns >> WHEEL_TICK_SHIFT, .soonest_tick = UINT64_MAX};
    for (unsigned level = 0; level < WHEEL_LEVELS; level++)
        for (unsigned slot = 0; slot < WHEEL_SLOTS; slot++)
            list_init(&wheel->slots[level][slot]);
}

static void place(struct wheel *wheel, struct timer *timer)
{
    uint64_t tick = tick_after(timer->deadline_ns);
    if (tick < wheel->next_tick)
        tick = wheel->next_tick;
    if (tick > LAST_TICK)
        tick = LAST_TICK;
    /* The low bits are set so that equal ticks count as a difference in the lowest group. */
    uint64_t differing = (tick ^ wheel->next_tick) | (WHEEL_SLOTS - 1);
    unsigned level = (63U - (unsigned)__builtin_clzll(differing)) / WHEEL_SLOT_BITS;
    unsigned slot = (unsigned)(tick >> (level * WHEEL_SLOT_BITS)) & (WHEEL_SLOTS - 1);
    list_push_back(&wheel->slots[level][slot], &timer->link);
    wheel->occupied[level] |= UINT64_C(1) << slot;
    const unsigned shift = level * WHEEL_SLOT_BITS;
    const uint64_t starts = tick >> shift << shift;
    if (starts < wheel->soonest_tick)
        wheel->soonest_tick = starts;
}

void wheel_add(struct wheel *wheel, struct timer *timer)
{
    wheel->n_timers++;
    place(wheel, timer);
}

void wheel_remove(struct wheel *wheel, struct timer *timer)
{
    wheel->n_timers--;
    list_remove(&timer->link);
    timer->deadline_ns = 0;
}

/* The first slot of a level that holds a timer, or WHEEL_SLOTS. Bits of slots that were emptied are
 * cleared on the way. */
static unsigned first_slot(struct wheel *wheel, unsigned level)
{
    while (wheel->occupied[level]) {
        unsigned slot = (unsigned)__builtin_ctzll(wheel->occupied[level]);
        if (!list_is_empty(&wheel->slots[level][slot]))
            return slot;
        wheel->occupied[level] &= ~(UINT64_C(1) << slot);
    }
    return WHEEL_SLOTS;
}

/* The earliest slot and the tick at which it starts. On a tie the higher level, whose timers must
 * come down first. */
static bool earliest_slot(struct wheel *wheel, unsigned *out_level, unsigned *out_slot,
                          uint64_t *out_tick)
{
    uint64_t earliest = UINT64_MAX;
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        unsigned slot = first_slot(wheel, level);
        if (slot == WHEEL_SLOTS)
            continue;
        unsigned above = (level + 1) * WHEEL_SLOT_BITS;
        uint64_t tick =
            (wheel->next_tick >> above << above) | ((uint64_t)slot << (level * WHEEL_SLOT_BITS));
        if (tick > earliest)
            continue;
        earliest = tick;
        *out_level = level;
        *out_slot = slot;
    }
    if (earliest == UINT64_MAX)
        return false;
    *out_tick = earliest;
    return true;
}

uint64_t wheel_wake_ns(const struct wheel *wheel)
{
    if (wheel->n_timers == 0 || wheel->soonest_tick == UINT64_MAX)
        return UINT64_MAX;
    return wheel->soonest_tick << WHEEL_TICK_SHIFT;
}

/* Moves a slot's timers to a ring of their own, out of the way of timers that callbacks start. */
static void take_slot(struct wheel *wheel, unsigned level, unsigned slot, struct list *out_ring)
{
    struct list *head = &wheel->slots[level][slot];
    *out_ring = *head;
    out_ring->next->prev = out_ring;
    out_ring->prev->next = out_ring;
    list_init(head);
    wheel->occupied[level] &= ~(UINT64_C(1) << slot);
}

static struct timer *first_timer(const struct list *ring)
{
    return list_entry(ring->next, struct timer, link);
}

static void fire_slot(struct wheel *wheel, unsigned slot)
{
    struct list due;
    take_slot(wheel, 0, slot, &due);
    while (!list_is_empty(&due)) {
        struct timer *timer = first_timer(&due);
        wheel_remove(wheel, timer);
        timer->fire(timer);
    }
}

static void spread_slot(struct wheel *wheel, unsigned level, unsigned slot)
{
    struct list ring;
    take_slot(wheel, level, slot, &ring);
    while (!list_is_empty(&ring)) {
        struct timer *timer = first_timer(&ring);
        list_remove(&timer->link);
        place(wheel, timer);
    }
}

static void pass(struct wheel *wheel, uint64_t now_tick)
{
    if (wheel->next_tick <= now_tick)
        wheel->next_tick = now_tick + 1;
}

void wheel_expire(struct wheel *wheel, uint64_t now_ns)
{
    uint64_t now_tick = now_ns >> WHEEL_TICK_SHIFT;
    unsigned level, slot;
    uint64_t tick;
    if (wheel->soonest_tick > now_tick) {
        pass(wheel, now_tick);
        return;
    }
    while (earliest_slot(wheel, &level, &slot, &tick) && tick <= now_tick) {
        if (level > 0) {
            wheel->next_tick = tick;
            spread_slot(wheel, level, slot);
        } else {
            wheel->next_tick = tick + 1;
            fire_slot(wheel, slot);
        }
    }
    wheel->soonest_tick = earliest_slot(wheel, &level, &slot, &tick) ? tick : UINT64_MAX;
    pass(wheel, now_tick);
}
