/*
 * views.h - what a proxy knows, as JSON for `isthmus ctl`: services, endpoints, certificates.
 *
 * Shapes are those of control's pages too, so that ctl prints both alike:
 *   {"services":[{"host","namespace","scope","vips":[],"headless",
 *                 "ports":[{"name","port","target_port","protocol","endpoints","ready"}],"clusters":[]}]}
 *   {"endpoints":[{"service","port","cluster","node","workload","namespace","address","level","ready","identity"}]}
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
void view_endpoints(const struct snapshot *snapshot, struct str host, struct text *out);
void view_certificates(const struct rotation *const *rotations, size_t n_rotations,
                       const struct trust *trust, struct text *out);

#endif
