/*
 * codec_policy.h - the parts of a policy on the wire; inside the room. codec_policy.c writes,
 * codec_policy_read.c reads, codec_policy_parts.c has what is done value by value.
 *
 * Owner: the arena given. Thread: any.
 */
#ifndef ISTHMUS_XDS_CODEC_POLICY_H
#define ISTHMUS_XDS_CODEC_POLICY_H

#include <authorization.pb-c.h>
#include <details.pb-c.h>

#include "config/model.h"

#define CODEC_POLICY_DETAILS "isthmus.v1alpha1.AuthorizationDetails"
#define CODEC_MATCH_DETAILS  "isthmus.v1alpha1.MatchDetails"

/* Without globs and templates, which have no word. */
Istio__Security__StringMatch **codec_strings_encode(const struct string_match *matches,
                                                    size_t n_matches, struct arena *arena,
                                                    size_t *out_n);
/* Those of the kind: globs, templates. */
char **codec_patterns_encode(const struct string_match *matches, size_t n_matches,
                             enum match_kind kind, struct arena *arena, size_t *out_n);
/* Both together again; NULL and 0 when one is of a kind that is not known. */
struct string_match *codec_strings_decode(Istio__Security__StringMatch *const *messages, size_t n,
                                          char *const *patterns, size_t n_patterns,
                                          enum match_kind kind, struct arena *arena, size_t *out_n);

/* What a match asks of an HTTP request. Reading leaves out what it does not know, and says so. */
Isthmus__V1alpha1__RequestField **codec_request_encode(const struct request_field *fields, size_t n,
                                                       struct arena *arena);
struct request_field *codec_request_decode(Isthmus__V1alpha1__RequestField *const *messages,
                                           size_t n, struct arena *arena, size_t *out_n,
                                           bool *has_unknown);

bool codec_has_unknown(const ProtobufCMessage *message);

#endif
