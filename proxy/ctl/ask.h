/*
 * ask.h - one question to one admin port.
 *
 * Happy path: the host's addresses are tried in the order in which the resolver gives them, the
 * first that takes the connection answers. Failure modes: no such host, refused, no answer within
 * ASK_TIMEOUT_NS: each as a sentence that says what to do about it.
 *
 * Thread: the main one; blocks. Makes a loop of its own.
 */
#ifndef ISTHMUS_CTL_ASK_H
#define ISTHMUS_CTL_ASK_H

#include "proxy/base/addr.h"
#include "proxy/base/text.h"

#define ASK_TIMEOUT_NS UINT64_C(15000000000)

/* Asks GET path of "host:port". 0 with the status and the body (appended), or a negative enum err
 * with the sentence in *why. -ERR_INVALID: the address is not one. */
MUST_USE int ask(struct str address, struct str path, unsigned *out_status, struct text *body,
                 struct text *why);
/* The first address of "host:port". 0, or as ask(). */
MUST_USE int ask_resolve(struct str address, struct addr *out_addr, struct text *why);

#endif
