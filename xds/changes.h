/*
 * changes.h - which workloads changed since a mark: what a snapshot may be patched with.
 *
 * Changes of anything else, and more workloads than are noted, are told as one: "more than that".
 *
 * Owner: whoever embeds the struct; {0} says "more than that" until changes_mark(). Thread: one.
 */
#ifndef ISTHMUS_XDS_CHANGES_H
#define ISTHMUS_XDS_CHANGES_H

#include "config/model.h"
#include "proxy/base/map.h"

#define CHANGES_MAX ((size_t)4096) /* beyond these a whole snapshot is the cheaper one */

struct changes {
    bool are_known;
    struct arena arena; /* of the names */
    struct map seen;
    struct str *uids; /* of CHANGES_MAX */
    size_t n;
};

/* Nothing has changed from here on. */
void changes_mark(struct changes *changes);
/* A resource came in place of another one, or of none, or went: NULL for what is not there. */
void changes_note(struct changes *changes, const struct model_resource *before,
                  const struct model_resource *after);
/* Everything may have changed. */
void changes_forget(struct changes *changes);
void changes_fini(struct changes *changes);

#endif
