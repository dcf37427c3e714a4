/*
 * names.h - the forms of names that Kubernetes and DNS allow.
 *
 * Source: RFC 1123 section 2.1 (as Kubernetes reads it: lower case only), RFC 6335 section 5.1,
 * KEP-2149 (cluster ids). Thread: any.
 */
#ifndef ISTHMUS_CONFIG_NAMES_H
#define ISTHMUS_CONFIG_NAMES_H

#include "proxy/base/addr.h"
#include "proxy/base/arena.h"

#define NAME_LABEL_MAX     63
#define NAME_SUBDOMAIN_MAX 253
#define NAME_CLUSTER_MAX   127
#define NAME_UID_MAX       128

/* "web-1": a-z, 0-9 and "-", which neither begins nor ends it; 63 bytes at most. */
bool name_is_label(struct str text);
/* Labels joined by dots, 253 bytes at most. */
bool name_is_subdomain(struct str text);
/* A name of a container port: a label of 15 bytes at most with a letter in it and no "--". */
bool name_is_port(struct str text);
/* What a cluster calls an object that once was: letters, digits, "-", "." and "_"; 1 to 128. */
bool name_is_uid(struct str text);
/* A subdomain short enough for a cluster id. */
bool name_is_cluster(struct str text);

/* Splits "10.1.0.10:15012", "[fd00::1]:15012" or "control.example:15012", port 1 to 65535. The host
 * comes without brackets, borrowed. */
bool name_split_host_port(struct str text, struct str *out_host, uint16_t *out_port);

#endif
