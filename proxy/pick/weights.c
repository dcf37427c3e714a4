#include "proxy/pick/weights.h"

#include "proxy/base/ensure.h"

/* Position p (from 1) holds the sum of the p & -p items that end with it. */
static uint32_t lowest_bit(uint32_t position)
{
    return position & (~position + 1);
}

void weights_build(struct weights *weights, uint64_t *storage, uint32_t len)
{
    *weights = (struct weights){.tree = storage, .len = len};
    for (uint32_t i = 0; i < len; i++)
        weights->sum += storage[i];
    for (uint32_t position = 1; position <= len; position++) {
        const uint32_t parent = position + lowest_bit(position);
        if (parent <= len)
            storage[parent - 1] += storage[position - 1];
    }
}

void weights_change(struct weights *weights, uint32_t idx, uint64_t before, uint64_t after)
{
    const uint64_t delta = after - before; /* wraps, and back again */
    weights->sum += delta;
    for (uint32_t position = idx + 1; position <= weights->len; position += lowest_bit(position))
        weights->tree[position - 1] += delta;
}

uint32_t weights_find(const struct weights *weights, uint64_t point, uint64_t *out_start)
{
    uint32_t position = 0, step = 1;
    uint64_t start = 0;
    ensure(point < weights->sum);
    while (step <= weights->len / 2)
        step *= 2;
    for (; step > 0; step /= 2) {
        if (step > weights->len - position || start + weights->tree[position + step - 1] > point)
            continue;
        position += step;
        start += weights->tree[position - 1];
    }
    *out_start = start;
    return position;
}
