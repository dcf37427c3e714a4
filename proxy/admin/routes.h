/*
 * routes.h - where requests go, as JSON for `isthmus ctl routes`: rule by rule, in the order in
 * which they are tried.
 *
 *   {"routes":[{"service","port","callers","host","rule","match","action"}]}
 *
 * callers: "all", or the namespace of those for whom it is. Sorted by service, port and callers.
 * Thread: any that may read the snapshot.
 */
#ifndef ISTHMUS_ADMIN_ROUTES_H
#define ISTHMUS_ADMIN_ROUTES_H

#include "config/snapshot.h"
#include "proxy/base/text.h"

/* host: only services whose host contains it; "" shows all. */
void view_routes(const struct snapshot *snapshot, struct str host, struct text *out);

#endif
