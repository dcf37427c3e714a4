/*
 * Pods by label. A selector's rarest label is looked up and only the pods that have it are
 * compared, so that ten thousand selectors over a hundred thousand pods stay cheap; only labels
 * that some selector asks for are filed.
 */
#include "xds/control/build.h"

struct label_post {
    struct own_workload *workload;
    struct label_post *next;
};

struct label_bucket {
    struct label_post *posts;
    size_t len;
};

void selection_need(struct registry_builder *builder, const struct label *selector, size_t n)
{
    static char needed;
    for (size_t i = 0; i < n; i++)
        map_put(&builder->selector_keys, selector[i].key, &needed);
}

static void write_key(struct text *out, struct str namespace_, const struct label *label)
{
    text_clear(out);
    text_addf(out, "%.*s\n%.*s\n%.*s", STR_ARG(namespace_), STR_ARG(label->key),
              STR_ARG(label->value));
}

static void file_label(struct registry_builder *builder, struct own_workload *workload,
                       const struct label *label, struct text *key)
{
    write_key(key, workload->model.namespace_, label);
    struct label_bucket *bucket = map_find(&builder->by_label, text_str(key));
    if (!bucket) {
        bucket = arena_new(&builder->scratch, struct label_bucket);
        map_put(&builder->by_label, arena_str(&builder->scratch, text_str(key)), bucket);
    }
    struct label_post *post = arena_new(&builder->scratch, struct label_post);
    *post = (struct label_post){workload, bucket->posts};
    bucket->posts = post;
    bucket->len++;
}

void selection_index(struct registry_builder *builder)
{
    struct text key = {0};
    if (builder->selector_keys.len == 0)
        return;
    for (size_t i = 0; i < builder->n_workloads; i++) {
        struct own_workload *workload = &builder->workloads[i];
        const struct object *meta = &workload->pod->meta;
        for (size_t j = 0; j < meta->n_labels; j++)
            if (map_find(&builder->selector_keys, meta->labels[j].key))
                file_label(builder, workload, &meta->labels[j], &key);
    }
    text_fini(&key);
}

static const struct label_bucket *rarest_bucket(const struct registry_builder *builder,
                                                struct str namespace_, const struct label *selector,
                                                size_t n)
{
    static const struct label_bucket none;
    const struct label_bucket *rarest = NULL;
    struct text key = {0};
    for (size_t i = 0; i < n; i++) {
        write_key(&key, namespace_, &selector[i]);
        const struct label_bucket *bucket = map_find(&builder->by_label, text_str(&key));
        if (!bucket)
            bucket = &none;
        if (!rarest || bucket->len < rarest->len)
            rarest = bucket;
    }
    text_fini(&key);
    return rarest;
}

static bool selects(const struct label *selector, size_t n, const struct own_workload *workload)
{
    const struct object *meta = &workload->pod->meta;
    return label_select(selector, n, meta->labels, meta->n_labels);
}

void selection_each(const struct registry_builder *builder, struct str namespace_,
                    const struct label *selector, size_t n,
                    void (*each)(void *owner, struct own_workload *workload), void *owner)
{
    ensure(n > 0);
    if (str_is_empty(namespace_)) {
        for (size_t i = 0; i < builder->n_workloads; i++)
            if (selects(selector, n, &builder->workloads[i]))
                each(owner, &builder->workloads[i]);
        return;
    }
    const struct label_bucket *bucket = rarest_bucket(builder, namespace_, selector, n);
    for (const struct label_post *post = bucket->posts; post; post = post->next)
        if (selects(selector, n, post->workload))
            each(owner, post->workload);
}
