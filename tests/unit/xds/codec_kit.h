/*
 * codec_kit.h - resources there and back, and bytes that are to be refused.
 *
 * Everything lives in the arena, which codec_fini() empties after each test.
 */
#ifndef TESTS_UNIT_XDS_CODEC_KIT_H
#define TESTS_UNIT_XDS_CODEC_KIT_H

#include "xds/codec.h"
#include "xds/wire.h"

extern struct arena arena;
extern struct text why;

void codec_fini(void);

struct str encode(const struct model_resource *resource, struct str *out_name);
/* Encodes and decodes; a round trip that keeps everything encodes to the same bytes again. */
struct model_resource round_trip(const struct model_resource *resource);
void assert_refused(enum xds_type type, struct str name, struct str bytes, const char *part);
struct str packed(const ProtobufCMessage *message);

#endif
