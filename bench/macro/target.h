/* target.h - where load goes. */
#ifndef ISTHMUS_BENCH_MACRO_TARGET_H
#define ISTHMUS_BENCH_MACRO_TARGET_H

#include <netinet/in.h>
#include <stdbool.h>

/* IPV4:PORT; false for anything else. */
bool target_read(const char *text, struct sockaddr_in *out);
#endif
