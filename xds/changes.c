#include "xds/changes.h"

#include "proxy/base/mem.h"

void changes_forget(struct changes *changes)
{
    map_fini(&changes->seen);
    arena_reset(&changes->arena);
    changes->are_known = false;
    changes->n = 0;
}

void changes_mark(struct changes *changes)
{
    changes_forget(changes);
    changes->are_known = true;
    if (!changes->uids)
        changes->uids = mem_new_array(struct str, CHANGES_MAX);
}

static bool is_other(const struct model_resource *resource)
{
    return resource && resource->kind != MODEL_WORKLOAD;
}

void changes_note(struct changes *changes, const struct model_resource *before,
                  const struct model_resource *after)
{
    const struct str name = after ? after->name : before->name;
    if (!changes->are_known || map_find(&changes->seen, name))
        return;
    if (is_other(before) || is_other(after) || changes->n == CHANGES_MAX) {
        changes_forget(changes);
        return;
    }
    struct str *uid = &changes->uids[changes->n++];
    *uid = arena_str(&changes->arena, name);
    (void)map_put(&changes->seen, *uid, uid);
}

void changes_fini(struct changes *changes)
{
    changes_forget(changes);
    mem_free(changes->uids);
    *changes = (struct changes){0};
}
