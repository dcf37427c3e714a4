/*
 * h1_answer.h - the answer to one HTTP/1.1 request, gathered from bytes; for the clients of this
 * room, without a connection.
 *
 * A body that never ends is handed on as it comes, if somebody asks for it (on_piece).
 *
 * Bounds: 64 KiB of head, max_body of body that is gathered. Thread: any.
 */
#ifndef ISTHMUS_HTTP_H1_ANSWER_H
#define ISTHMUS_HTTP_H1_ANSWER_H

#include <llhttp.h>

#include "proxy/base/text.h"

struct h1_answer {
    llhttp_t parser;
    struct text body, location, retry_after;
    size_t head_bytes, max_body;
    unsigned status;
    int err; /* found while parsing, or 0 */
    bool is_whole;
    struct text *value; /* of the header field that is being read; NULL: nobody wants it */
    size_t name_len;
    char name[12];
    /* Gets the body of an answer with status 200, which is not gathered then: a piece without bytes
     * when the head is there, then as it comes. NULL: nobody. */
    void (*on_piece)(void *owner, struct str piece);
    void *owner;
};

/* Stays where it is until h1_answer_fini(). */
void h1_answer_init(struct h1_answer *answer, size_t max_body);
/* 0, also when is_whole is set now; or a negative enum err. */
MUST_USE int h1_answer_take(struct h1_answer *answer, struct str bytes);
/* The connection ended, which may be the end of the body: 0, or -ERR_EOF. */
MUST_USE int h1_answer_end(struct h1_answer *answer);
void h1_answer_fini(struct h1_answer *answer);

#endif
