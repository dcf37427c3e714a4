/*
 * tree.h - JSON as the trees that the readers of config/manifests.h take, so that an object is read
 * by the same code whether it comes from a file or from an API server.
 *
 * A tree's places have no line: an object of an API server is called by its name.
 * Owner: the arena. Thread: any.
 */
#ifndef ISTHMUS_KUBERNETES_TREE_H
#define ISTHMUS_KUBERNETES_TREE_H

#include <jansson.h>

#include "config/yaml.h"

/* NULL when it is no object, or nested deeper than YAML_DEPTH_MAX. Texts are borrowed from the
 * JSON. An object of a list may leave to the list what kind and version it is: they are added where
 * they are absent, unless they are "". */
struct yaml *kube_tree(struct arena *arena, struct str file, json_t *object, struct str kind,
                       struct str api_version);

#endif
