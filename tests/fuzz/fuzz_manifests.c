/* Any bytes as a YAML stream. */
#include "config/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct diag diag = {0};
    struct yaml **docs;
    (void)yaml_parse(&arena, STR("input.yaml"), str_of(data, size), &docs, &diag);
    diag_fini(&diag);
    arena_fini(&arena);
    return 0;
}
