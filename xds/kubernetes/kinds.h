/*
 * kinds.h - the kinds of objects that control reads, and where an API server has them.
 *
 * config/deploy/control.yaml lets control list and watch these resources and no others; arch/deploy
 * compares the two.
 */
#ifndef ISTHMUS_KUBERNETES_KINDS_H
#define ISTHMUS_KUBERNETES_KINDS_H

#include <stdbool.h>

#include "proxy/base/str.h"

#define KUBE_PLACES_MAX 4

struct kube_kind {
    const char *kind;
    /* Paths, NULL-terminated, in the order in which they are tried: the first that is there is the
     * one that counts. */
    const char *places[KUBE_PLACES_MAX + 1];
    bool is_optional; /* a CustomResourceDefinition, which need not be installed */
};

#define KUBE_KINDS 13

const struct kube_kind *kube_kind(unsigned idx); /* below KUBE_KINDS */
/* The parts of a place: "" for the group of "/api/v1/pods". */
struct str kube_resource(struct str place);
struct str kube_group(struct str place);

#endif
