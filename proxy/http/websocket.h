/*
 * websocket.h - the two fields that a WebSocket handshake has in HTTP/1.1 and not in HTTP/2.
 *
 * RFC 8441 leaves out sec-websocket-key and its answer, so who carries a handshake from one version
 * to the other makes up the one that is missing. SHA-1 is no secret's keeper here: it says that the
 * other end has read RFC 6455.
 *
 * Thread: any. Source: RFC 6455 1.3, 4.2.2; RFC 8441 5.
 */
#ifndef ISTHMUS_HTTP_WEBSOCKET_H
#define ISTHMUS_HTTP_WEBSOCKET_H

#include "proxy/base/str.h"

#define WEBSOCKET_KEY_LEN    24u
#define WEBSOCKET_ACCEPT_LEN 28u

bool websocket_is(struct str protocol);
/* A new sec-websocket-key, out_key[WEBSOCKET_KEY_LEN] without a NUL. */
void websocket_make_key(char *out_key);
/* The sec-websocket-accept that answers a key, out_accept[WEBSOCKET_ACCEPT_LEN] without a NUL. */
void websocket_accept(struct str key, char *out_accept);

#endif
