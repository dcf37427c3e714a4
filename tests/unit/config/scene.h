/* scene.h - a mesh and a snapshot of it, for the .init and .fini of a suite. */
#ifndef TESTS_UNIT_CONFIG_SCENE_H
#define TESTS_UNIT_CONFIG_SCENE_H

#include "mesh.h"

extern struct mesh mesh;
extern struct snapshot *snapshot; /* NULL until the test builds one */

void scene_begin(void);
void scene_end(void);

#endif
