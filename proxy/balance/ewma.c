#include "proxy/balance/ewma.h"

#include <math.h>

/* Of the decay time; so many of its parts the first terms of the series give to ten digits, and
 * most samples follow each other sooner. */
#define SHORT 1e-3

static double kept(const struct ewma *ewma, uint64_t now_ns, uint64_t decay_ns)
{
    const uint64_t elapsed_ns = now_ns > ewma->at_ns ? now_ns - ewma->at_ns : 0;
    const double x = (double)elapsed_ns / (double)decay_ns;
    return x < SHORT ? 1 - x + x * x / 2 : exp(-x);
}

void ewma_init(struct ewma *ewma, uint64_t estimate_ns, uint64_t now_ns)
{
    *ewma = (struct ewma){(double)estimate_ns, now_ns};
}

void ewma_add(struct ewma *ewma, uint64_t sample_ns, uint64_t now_ns, uint64_t decay_ns)
{
    const double sample = (double)sample_ns;
    if (sample > ewma->estimate_ns) {
        ewma->estimate_ns = sample;
    } else {
        const double old = kept(ewma, now_ns, decay_ns);
        ewma->estimate_ns = ewma->estimate_ns * old + sample * (1 - old);
    }
    ewma->at_ns = now_ns;
}

double ewma_read(const struct ewma *ewma, uint64_t now_ns, uint64_t decay_ns)
{
    return ewma->estimate_ns * kept(ewma, now_ns, decay_ns);
}

double ewma_cost(const struct ewma *ewma, uint32_t n_pending, uint64_t now_ns, uint64_t decay_ns)
{
    return ewma_read(ewma, now_ns, decay_ns) * ((double)n_pending + 1);
}
