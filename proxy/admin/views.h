/*
 * views.h - what a proxy knows, as JSON for `isthmus ctl`: services and certificates
 * (endpoints.h has the endpoints).
 *
 * Shapes are those of control's pages too, so that ctl prints both alike:
 *   {"services":[{"host","namespace","scope","vips":[],"headless",
 *                 "ports":[{"name","port","target_port","protocol","endpoints","ready"}],"clusters":[]}]}
 *   {"certificates":[{"identity","state","serial","not_before","not_after","error"}],
 *    "bundles":[{"trust_domain","roots","not_after"}]}
 * Sorted by name. Thread: any that may read the snapshot.
 */
#ifndef ISTHMUS_ADMIN_VIEWS_H
#define ISTHMUS_ADMIN_VIEWS_H

#include "certs/bundle.h"
#include "certs/rotation.h"
#include "config/snapshot.h"

/* host: only services whose host contains it; "" shows all. */
void view_services(const struct snapshot *snapshot, struct str host, struct text *out);
/* The services whose host contains the part, sorted; NULL when there are none. The caller frees the
 * array. */
const struct service **view_select(const struct snapshot *snapshot, struct str part,
                                   size_t *out_len);
void view_certificates(const struct rotation *const *rotations, size_t n_rotations,
                       const struct trust *trust, struct text *out);

#endif
