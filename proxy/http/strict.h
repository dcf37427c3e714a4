/*
 * strict.h - what well formed means in HTTP, whatever the version: the one room of strictness.
 *
 * Each function answers for one part of a message. They are narrower than the RFCs where the wider
 * form has no honest user and two readers might read it differently (userinfo and percent signs in
 * an authority, an empty port, a length with a sign); nothing here repairs. The framing of a
 * message is judged by the codec of its version with these words.
 *
 * Thread: any. Source: RFC 9110 5.1, 5.5, 5.6.2, 7.2, 8.6, 9.1; RFC 9112 3.2; RFC 9113 8.2, 8.3;
 * RFC 3986.
 */
#ifndef ISTHMUS_HTTP_STRICT_H
#define ISTHMUS_HTTP_STRICT_H

#include "proxy/base/str.h"

/* A protocol, with its version perhaps, that nobody is switched to: HTTP itself, as "h2c" has it,
 * or TLS, in which it would go on. What came behind the switch would be requests that nobody reads,
 * routes or judges. */
bool strict_is_http_itself(struct str protocol);

/* A field's value: visible characters, bytes from 0x80, and blanks between them; none at its ends.
 * May be empty. */
bool strict_is_value(struct str value);
/* How many bytes stand before the first that is none of a value's, blanks at the ends included. */
size_t strict_value_len(const char *bytes, size_t len);

/* host or host:port: a name of letters, digits, '-', '.', '_', '~', or an address. */
bool strict_is_authority(struct str authority);

/* What stands for the path of a method: "/..." with the query, of visible ASCII without a '#';
 * "*" for OPTIONS alone. */
bool strict_is_path(struct str method, struct str path);
/* How many bytes stand before the first that is not for a path. */
size_t strict_path_len(const char *bytes, size_t len);

/* content-length: 1 to 18 digits. False, and the out untouched, for anything else. */
bool strict_length(struct str value, int64_t *out_length);

/* The next member of a comma-separated list, without blanks around it, possibly empty. False at the
 * end of the list. */
bool strict_next_member(struct str *list, struct str *out_member);

/* A field that speaks of one hop alone, by its lower-case name: connection, keep-alive,
 * proxy-connection, transfer-encoding, upgrade, te. RFC 9110 7.6.1 */
bool strict_is_hop_field(struct str name);

/* A field, by its lower-case name, that may stand behind a body: none that means something before
 * it, or to who routes the message. RFC 9110 6.5.1 */
bool strict_may_trail(struct str name);

#endif
