#include "config/manifests_part.h"

#include "proxy/base/mem.h"

void manifests_part_unref(struct manifests_part *part)
{
    if (--part->refs > 0)
        return;
    map_fini(&part->seen);
    diag_fini(&part->diag);
    manifests_free(part->set);
    arena_fini(&part->arena);
    mem_free(part);
}

void manifests_free(struct manifests *manifests)
{
    if (!manifests)
        return;
    for (size_t i = 0; i < manifests->n_parts; i++)
        if (manifests->parts[i])
            manifests_part_unref(manifests->parts[i]);
    for (size_t i = 0; i < manifests->n_current; i++)
        manifests_part_unref(manifests->current[i]);
    mem_free(manifests->current);
    map_fini(&manifests->seen);
    arena_fini(&manifests->arena);
    mem_free(manifests);
}
