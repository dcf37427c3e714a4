/*
 * models.h - small and rich resources of the model for the tests of this folder.
 *
 * Everything is made in the given arena.
 */
#ifndef ISTHMUS_TESTS_UNIT_XDS_MODELS_H
#define ISTHMUS_TESTS_UNIT_XDS_MODELS_H

#include "config/model.h"

/* "c1//v1/Pod/ns/<name>" at that address, everything else plain. */
struct model_resource *model_pod(struct arena *arena, const char *name, const char *address);
/* Every field set, dual-stack, serving two services. */
struct model_resource *model_rich_pod(struct arena *arena);
struct model_resource *model_rich_service(struct arena *arena);
struct model_resource *model_headless_service(struct arena *arena);
struct model_resource *model_rich_policy(struct arena *arena);
/* An ALLOW policy without rules. */
struct model_resource *model_small_policy(struct arena *arena, const char *name);

#endif
