#include "scene.h"

struct mesh mesh;
struct snapshot *snapshot;

void scene_begin(void)
{
    mesh_begin(&mesh);
    snapshot = NULL;
}

void scene_end(void)
{
    snapshot_free(snapshot);
    mesh_end(&mesh);
}
