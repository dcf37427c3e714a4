#include "proxy/tls/stage.h"

#include <string.h>

void stage_init(struct stage *stage, struct slab_pool *slabs, struct stream *lower)
{
    *stage = (struct stage){.slabs = slabs, .lower = lower};
}

void stage_fini(struct stage *stage)
{
    if (stage->slab)
        slab_unref(stage->slab);
    stage->slab = NULL;
    stage->used = 0;
}

static void pass_on(struct stage *stage)
{
    struct slice bytes = {stage->slab, stage->slab->bytes, stage->used};

    stage->slab->used = (uint32_t)stage->used;
    stage->slab = NULL;
    stage->used = 0;
    if (!stream_write(stage->lower, bytes))
        stage->full = true;
}

/* The lower stream is full and so is the slab: the piece that is being made must be kept all the
 * same. */
static void grow(struct stage *stage, size_t len)
{
    struct slab *larger = slab_new(stage->slabs, stage->used + len + SLAB_BYTES / 4);

    memcpy(larger->bytes, stage->slab->bytes, stage->used);
    slab_unref(stage->slab);
    stage->slab = larger;
}

void stage_add(struct stage *stage, const void *bytes, size_t len)
{
    const uint8_t *from = bytes;

    while (len > 0) {
        size_t room;
        size_t part;

        if (!stage->slab)
            stage->slab = slab_new(stage->slabs, SLAB_BYTES);
        else if (stage->full && stage->slab->cap - stage->used < len)
            grow(stage, len);
        room = stage->slab->cap - stage->used;
        part = len < room ? len : room;
        memcpy(stage->slab->bytes + stage->used, from, part);
        stage->used += part;
        from += part;
        len -= part;
        if (stage->used == stage->slab->cap && !stage->full)
            pass_on(stage);
    }
}

void stage_flush(struct stage *stage)
{
    if (stage->used > 0 && !stage->full)
        pass_on(stage);
}

void stage_drained(struct stage *stage)
{
    stage->full = false;
    stage_flush(stage);
}
