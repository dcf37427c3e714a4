/* Keys of two parts: beside the registry, since its steps look things up too. */
#include "proxy/base/map.h"
#include "xds/control/build.h"

struct str key_make(struct arena *arena, struct str a, struct str b)
{
    return arena_printf(arena, "%.*s/%.*s", STR_ARG(a), STR_ARG(b));
}

void *key_find(const struct map *map, struct str a, struct str b)
{
    struct text key = {0};
    text_addf(&key, "%.*s/%.*s", STR_ARG(a), STR_ARG(b));
    void *found = map_find(map, text_str(&key));
    text_fini(&key);
    return found;
}
