/*
 * wire.h - the few things about a DNS message that must be read without parsing all of it: header,
 * question, names.
 *
 * A relayed query is handed on untouched, so nothing behind its question may matter here. Whole
 * messages are parsed by libknot (reply.c). Names are "wire" (length-prefixed labels, at most 255
 * bytes, no compression) or "text" (labels with dots between, no last dot, at most 253 bytes).
 *
 * Source: RFC 1035 section 4.1. Thread: any. Values, no ownership.
 */
#ifndef ISTHMUS_DNS_WIRE_H
#define ISTHMUS_DNS_WIRE_H

#include "proxy/base/str.h"

#define DNS_HEADER_BYTES   12
#define DNS_NAME_BYTES_MAX 255
#define DNS_NAME_TEXT_MAX  253

struct dns_question {
    uint8_t name[DNS_NAME_BYTES_MAX]; /* wire, lower case */
    size_t name_len;
    uint16_t type, class_;
    size_t end; /* the offset behind the question */
};

/* The header's fields; packet has at least DNS_HEADER_BYTES. */
uint16_t dns_id(struct str packet);
bool dns_is_response(struct str packet);
unsigned dns_opcode(struct str packet);
unsigned dns_rcode(struct str packet);
void dns_set_id(uint8_t *packet, uint16_t id);

/* True and the question of a message that has exactly one, with an uncompressed, well-formed name.
 */
bool dns_question_read(struct str packet, struct dns_question *out_question);

/* Wire to text, into text (DNS_NAME_TEXT_MAX bytes). False when a label has a dot or a NUL in it:
 * such a name has no text of its own, and none of ours is like that. */
bool dns_name_to_text(const uint8_t *name, char *text, struct str *out_text);

/* Text to wire, into name (DNS_NAME_BYTES_MAX bytes). The length, or 0 when it is no name: an empty
 * or long label, too long a whole. */
size_t dns_name_from_text(struct str text, uint8_t *name);

#endif
