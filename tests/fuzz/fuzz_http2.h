/*
 * fuzz_http2.h - an end of HTTP/2 messages whose peer sends any bytes in any pieces, while its
 * owner does anything that it may. fuzz_http2_server.c and fuzz_http2_client.c choose the end.
 */
#ifndef ISTHMUS_TESTS_FUZZ_FUZZ_HTTP2_H
#define ISTHMUS_TESTS_FUZZ_FUZZ_HTTP2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int fuzz_http2(const uint8_t *data, size_t size, bool is_server);

#endif
