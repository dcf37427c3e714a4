/*
 * Which selectors select a pod. Each selector is filed once, under that of its labels which the
 * fewest others ask for, so that a pod is compared with few of ten thousand; and only labels whose
 * key some selector asks for are looked up.
 */
#include "xds/control/build.h"

struct label_bucket {
    struct selector *selectors;
    size_t n_wanted; /* by selectors, filed here or not */
};

void selection_add(struct registry_builder *builder, const struct selector *selector)
{
    struct selector *copy = arena_new(&builder->scratch, struct selector);
    ensure(selector->n_labels > 0);
    *copy = *selector;
    copy->next = builder->unfiled;
    builder->unfiled = copy;
}

static struct label_bucket *find_bucket(const struct registry_builder *builder,
                                        struct str namespace_, const struct label *label,
                                        struct text *key)
{
    text_clear(key);
    text_addf(key, "%.*s\n%.*s\n%.*s", STR_ARG(namespace_), STR_ARG(label->key),
              STR_ARG(label->value));
    return map_find(&builder->by_label, text_str(key));
}

static void want(struct registry_builder *builder, const struct selector *selector,
                 struct text *key)
{
    static char needed;
    for (size_t i = 0; i < selector->n_labels; i++) {
        const struct label *label = &selector->labels[i];
        struct label_bucket *bucket = find_bucket(builder, selector->namespace_, label, key);
        if (!bucket) {
            bucket = arena_new(&builder->scratch, struct label_bucket);
            map_put(&builder->by_label, arena_str(&builder->scratch, text_str(key)), bucket);
        }
        bucket->n_wanted++;
        map_put(&builder->selector_keys, label->key, &needed);
    }
    builder->selects_everywhere = builder->selects_everywhere || str_is_empty(selector->namespace_);
}

static void file(struct registry_builder *builder, struct selector *selector, struct text *key)
{
    struct label_bucket *rarest = NULL;
    for (size_t i = 0; i < selector->n_labels; i++) {
        struct label_bucket *bucket =
            find_bucket(builder, selector->namespace_, &selector->labels[i], key);
        if (!rarest || bucket->n_wanted < rarest->n_wanted)
            rarest = bucket;
    }
    selector->next = rarest->selectors;
    rarest->selectors = selector;
}

void selection_file(struct registry_builder *builder)
{
    struct text key = {0};
    for (const struct selector *it = builder->unfiled; it; it = it->next)
        want(builder, it, &key);
    while (builder->unfiled) {
        struct selector *selector = builder->unfiled;
        builder->unfiled = selector->next;
        file(builder, selector, &key);
    }
    text_fini(&key);
}

void selection_each(const struct registry_builder *builder, const struct k8s_pod *pod,
                    void (*each)(void *owner, const struct selector *selector), void *owner)
{
    const struct object *meta = &pod->meta;
    const struct str namespaces[] = {meta->namespace_, {0}};
    const size_t n_namespaces = builder->selects_everywhere ? 2 : 1;
    struct text key = {0};
    for (size_t i = 0; i < meta->n_labels; i++) {
        if (!map_find(&builder->selector_keys, meta->labels[i].key))
            continue;
        for (size_t k = 0; k < n_namespaces; k++) {
            const struct label_bucket *bucket =
                find_bucket(builder, namespaces[k], &meta->labels[i], &key);
            for (const struct selector *it = bucket ? bucket->selectors : NULL; it; it = it->next)
                if (label_select(it->labels, it->n_labels, meta->labels, meta->n_labels))
                    each(owner, it);
        }
    }
    text_fini(&key);
}

void selection_fini(struct registry_builder *builder)
{
    map_fini(&builder->selector_keys);
    map_fini(&builder->by_label);
}
