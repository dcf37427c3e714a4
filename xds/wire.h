/*
 * wire.h - protobuf messages from bytes that somebody else made, and back.
 *
 * libprotobuf-c takes any depth, copies any text and allocates by counts; so bytes are walked first
 * with the message's descriptor: nesting of at most WIRE_DEPTH_MAX, text that is UTF-8 without NUL
 * (it becomes a C string), no message field twice, no number that would be cut to 32 bits. What
 * unpacking may then allocate is bounded by the length of the input.
 *
 * Messages live in the caller's arena. Thread: any. Source: protobuf encoding.
 */
#ifndef ISTHMUS_XDS_WIRE_H
#define ISTHMUS_XDS_WIRE_H

#include <protobuf-c/protobuf-c.h>

#include "proxy/base/arena.h"
#include "proxy/base/text.h"

#define WIRE_DEPTH_MAX 32

/* The message, or NULL with a sentence appended to *why. */
ProtobufCMessage *wire_unpack(const ProtobufCMessageDescriptor *type, struct str bytes,
                              struct arena *arena, struct text *why);

/* Appends the message's bytes; the same message gives the same bytes. */
void wire_pack(const ProtobufCMessage *message, struct text *out);

/* A NUL-terminated copy, as the messages' text fields want it; and the length of what they hold. */
char *wire_text(struct arena *arena, struct str text);
struct str wire_bytes(const ProtobufCBinaryData *data);

#endif
