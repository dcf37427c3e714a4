/*
 * memory.h - what one worker remembers of endpoints: flows in progress and recent failures.
 *
 * Configuration knows who is there; this knows how they have been doing. Entries are found by the
 * endpoint's stable key, so they outlive snapshots, and exist only while there is something to
 * remember: a flow, or a failure not yet forgiven.
 *
 * A failed connect makes the endpoint suspect for SUSPECT_MIN_NS, doubling with each further
 * failure up to SUSPECT_MAX_NS; a success forgives at once. A suspect is passed over while anybody
 * else is left.
 *
 * Bound: MEMORY_MAX entries, beyond which the oldest failure without flows is forgotten.
 * Owner: the worker. Thread: its loop's. Units: ns.
 */
#ifndef ISTHMUS_PICK_MEMORY_H
#define ISTHMUS_PICK_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SUSPECT_MIN_NS UINT64_C(1000000000)
#define SUSPECT_MAX_NS UINT64_C(10000000000)
#define MEMORY_MAX     200000

struct memory;

struct memory *memory_new(void);
void memory_free(struct memory *memory); /* ensures that no flow is counted any more */

/* Flows in progress on an endpoint. */
uint32_t memory_flows(const struct memory *memory, uint64_t key);
bool memory_is_suspect(const struct memory *memory, uint64_t key, uint64_t now_ns);

void memory_flow_began(struct memory *memory, uint64_t key);
void memory_flow_ended(struct memory *memory, uint64_t key);
void memory_succeeded(struct memory *memory, uint64_t key);
void memory_failed(struct memory *memory, uint64_t key, uint64_t now_ns);
size_t memory_len(const struct memory *memory);

#endif
