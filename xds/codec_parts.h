/*
 * codec_parts.h - the codec, one kind of resource a file; codec.c chooses among them.
 *
 * encode: the message is made in the arena, borrowing nothing from the model. decode: everything
 * that stays is copied into the arena; 0, or -ERR_INVALID with a sentence appended to *why. Names
 * are checked against the resource's own.
 *
 * Thread: any.
 */
#ifndef ISTHMUS_XDS_CODEC_PARTS_H
#define ISTHMUS_XDS_CODEC_PARTS_H

#include <details.pb-c.h>
#include <workload.pb-c.h>

#include "config/model.h"
#include "xds/wire.h"

/* Appends a sentence and gives -ERR_INVALID. */
int codec_refuse(struct text *why, const char *format, ...) PRINTF_LIKE(2, 3);
/* A copy of a message's text field in the arena; nothing is allocated for "". */
struct str codec_keep(struct arena *arena, const char *field);
/* Texts of a repeated field, both ways. */
struct str *codec_keep_all(struct arena *arena, char *const *fields, size_t n_fields);
char **codec_texts(struct arena *arena, const struct str *texts, size_t n_texts);
/* The resource's name in the stream must be the one that its content makes. */
MUST_USE int codec_check_name(struct str name, struct str own, struct text *why);

void codec_workload_encode(const struct model_workload *workload, struct arena *arena,
                           struct text *out);
MUST_USE int codec_workload_decode(const Istio__Workload__Workload *message, struct str name,
                                   struct arena *arena, struct model_workload **out_workload,
                                   struct text *why);

void codec_service_encode(const struct model_service *service, struct arena *arena,
                          struct text *out);
MUST_USE int codec_service_decode(const Istio__Workload__Service *message, struct str name,
                                  struct arena *arena, struct model_service **out_service,
                                  struct text *why);

void codec_policy_encode(const struct model_policy *policy, struct arena *arena, struct text *out);
MUST_USE int codec_policy_decode(struct str bytes, struct str name, struct arena *arena,
                                 struct model_policy **out_policy, struct text *why);

void codec_traffic_encode(const struct model_traffic *traffic, struct arena *arena,
                          struct text *out);
MUST_USE int codec_traffic_decode(struct str bytes, struct str name, struct arena *arena,
                                  struct model_traffic **out_traffic, struct text *why);

void codec_routes_encode(const struct model_routes *routes, struct str name, struct arena *arena,
                         struct text *out);
MUST_USE int codec_routes_decode(struct str bytes, struct str name, struct arena *arena,
                                 struct model_routes **out_routes, struct text *why);

void codec_token_encode(const struct model_request_auth *auth, struct arena *arena,
                        struct text *out);
MUST_USE int codec_token_decode(struct str bytes, struct str name, struct arena *arena,
                                struct model_request_auth **out_auth, struct text *why);

/* ---- what workloads and services share ---- */

struct codec_ports {
    Istio__Workload__Port **ports; /* TCP */
    size_t n_ports;
    Isthmus__V1alpha1__PortDetails **details; /* names of those, and UDP ports whole */
    size_t n_details;
};

/* The model's ports; UDP ports come last when they are decoded again. */
struct codec_ports codec_ports_encode(const struct model_port *ports, size_t n_ports,
                                      struct arena *arena);
/* of: what they are ports of, for the sentence. */
MUST_USE int codec_ports_decode(const struct codec_ports *from, const char *of, struct arena *arena,
                                struct model_port **out_ports, size_t *out_n, struct text *why);

/* 4 or 16 bytes in network order. */
MUST_USE int codec_ip_decode(const ProtobufCBinaryData *bytes, const char *field, struct ip *out_ip,
                             struct text *why);
ProtobufCBinaryData codec_ip_encode(const struct ip *ip, struct arena *arena);

/* A message packed as an Any; and the bytes of one of that type, {0} when it is of another. */
Google__Protobuf__Any *codec_any(struct arena *arena, const char *type_name,
                                 const ProtobufCMessage *message);
struct str codec_any_value(const Google__Protobuf__Any *any, const char *type_name);
/* An extension of ours around a packed message; and the bytes of the extension with that type, {0}
 * when there is none. */
Istio__Workload__Extension *codec_extension(struct arena *arena, const char *type_name,
                                            const ProtobufCMessage *message);
struct str codec_find_extension(Istio__Workload__Extension *const *extensions, size_t n_extensions,
                                const char *type_name);

#endif
