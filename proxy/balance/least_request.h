/*
 * least_request.h - the endpoint with the fewest connections in progress.
 *
 * Equal weights: of a few drawn at random the one with fewest (two are nearly as good as all, and
 * clients that know nothing of each other do not rush to the same one), or of all, ties drawn.
 * Unequal weights: weighted round robin (edf.h) with the weight divided by what is in progress,
 * more sharply the higher the bias.
 *
 * Source: Envoy, LeastRequestLoadBalancer. Thread: any; nothing is kept.
 */
#ifndef ISTHMUS_BALANCE_LEAST_REQUEST_H
#define ISTHMUS_BALANCE_LEAST_REQUEST_H

#include <stddef.h>
#include <stdint.h>

#include "proxy/base/rng.h"

/* weight / (active + 1) ^ bias; bias 0 is plain round robin. */
double least_request_weight(double weight, uint32_t n_active, uint32_t bias_permille);

/* Of n_choices drawn with replacement the first with fewest; n > 0. */
size_t least_request_draw(const uint32_t *actives, size_t n, uint32_t n_choices, struct rng *rng);

/* Of all with fewest one at random; n > 0. */
size_t least_request_scan(const uint32_t *actives, size_t n, struct rng *rng);

#endif
