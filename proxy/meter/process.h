/*
 * process.h - the process_* metrics every Prometheus client library gives: what this process costs
 * the node.
 *
 * Thread: any. What /proc does not tell is left out.
 */
#ifndef ISTHMUS_METER_PROCESS_H
#define ISTHMUS_METER_PROCESS_H

#include "proxy/base/text.h"

void process_write(struct text *out);

/* Resident memory; 0 when it cannot be told. */
uint64_t process_resident_bytes(void);

#endif
