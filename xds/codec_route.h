/*
 * codec_route.h - what the writer and the reader of a RouteConfiguration share; inside the room.
 */
#ifndef ISTHMUS_XDS_CODEC_ROUTE_H
#define ISTHMUS_XDS_CODEC_ROUTE_H

#include <route.pb-c.h>

#include "xds/codec_parts.h"

#define CODEC_WHOLE_PATH      "/.*"     /* the regex_rewrite that stands for "the whole path" */
#define CODEC_INVALID_BACKEND "invalid" /* the cluster of a backend that cannot be used */

/* HeaderValueOption.append_action. */
enum codec_append { CODEC_APPEND = 0, CODEC_OVERWRITE = 2 };

/* FractionalPercent.denominator, in the million. */
extern const uint32_t codec_denominators[3];
/* RedirectAction.response_code and RouteAction.cluster_not_found_response_code. */
extern const uint16_t codec_redirect_codes[5];
extern const uint16_t codec_missing_codes[3];

struct codec_retry_word {
    const char *word; /* of retry_on */
    unsigned on;
};

extern const struct codec_retry_word codec_retry_words[];
extern const size_t codec_n_retry_words;

/* A resource on its way into the model; the first thing that is wrong is told, and ends it. */
struct reading_routes {
    struct arena *arena;
    struct text *why;
    int err;
    struct str rule; /* the current one's name, for the sentence */
};

void codec_route_refuse(struct reading_routes *reading, const char *format, ...) PRINTF_LIKE(2, 3);
/* Fields that we have no word for, but for those in harmless (ended by 0). */
void codec_route_unknown(struct reading_routes *reading, const ProtobufCMessage *message,
                         const char *what, const unsigned *harmless);
extern const unsigned codec_route_nothing[1];
/* Copies of texts, as they are or in lower case. */
struct str codec_route_keep(struct reading_routes *reading, const char *from, size_t max,
                            const char *what);
struct str codec_route_lower(struct reading_routes *reading, const char *from, const char *what);
bool codec_route_within(struct reading_routes *reading, size_t n, size_t max, const char *what);
uint64_t codec_route_duration(struct reading_routes *reading,
                              const Google__Protobuf__Duration *from, const char *what,
                              uint64_t fallback_ns);

/* codec_route_match.c */
struct str codec_route_path(struct reading_routes *reading, const char *from, const char *what);
void codec_route_match(struct reading_routes *reading,
                       const Envoy__Config__Route__V3__RouteMatch *from, struct route_match *match);

/* codec_route_action.c */
struct route_edits codec_route_edits(struct reading_routes *reading,
                                     Envoy__Config__Core__V3__HeaderValueOption *const *options,
                                     size_t n_options, char *const *removals, size_t n_removals,
                                     const char *what);
void codec_route_forward(struct reading_routes *reading,
                         const Envoy__Config__Route__V3__RouteAction *from,
                         struct route_rule *rule);
/* codec_route_hash.c */
void codec_route_hash(struct reading_routes *reading,
                      const Envoy__Config__Route__V3__RouteAction *from, struct route_rule *rule);
void codec_route_hash_encode(const struct route_rule *from, struct arena *arena,
                             Envoy__Config__Route__V3__RouteAction *action);
/* codec_route_action.c */
void codec_route_redirect(struct reading_routes *reading,
                          const Envoy__Config__Route__V3__RedirectAction *from,
                          struct route_rule *rule);
void codec_route_response(struct reading_routes *reading,
                          const Envoy__Config__Route__V3__DirectResponseAction *from,
                          struct route_rule *rule);

#endif
