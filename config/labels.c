/* Labels, selectors and what they decide. */
#include "config/manifests.h"

struct str label_find(const struct label *labels, size_t n_labels, const char *key)
{
    struct str wanted = str_from(key);
    for (size_t i = 0; i < n_labels; i++)
        if (str_eq(labels[i].key, wanted))
            return labels[i].value;
    return (struct str){0};
}

static bool has_label(const struct label *labels, size_t n_labels, const struct label *wanted)
{
    for (size_t i = 0; i < n_labels; i++)
        if (str_eq(labels[i].key, wanted->key))
            return str_eq(labels[i].value, wanted->value);
    return false;
}

bool label_select(const struct label *selector, size_t n_selector, const struct label *labels,
                  size_t n_labels)
{
    for (size_t i = 0; i < n_selector; i++)
        if (!has_label(labels, n_labels, &selector[i]))
            return false;
    return true;
}

enum choice { CHOICE_NONE, CHOICE_IN, CHOICE_OUT };

static enum choice choice_of(const struct object *meta)
{
    struct str ours = label_find(meta->labels, meta->n_labels, "isthmus.io/mesh");
    struct str istio = label_find(meta->labels, meta->n_labels, "istio.io/dataplane-mode");
    if (!str_is_empty(ours))
        return str_eq(ours, STR("enabled")) ? CHOICE_IN : CHOICE_OUT;
    if (str_is_empty(istio))
        return CHOICE_NONE;
    return str_eq(istio, STR("ambient")) ? CHOICE_IN : CHOICE_OUT;
}

bool manifests_is_enrolled(const struct k8s_pod *pod, const struct k8s_namespace *namespace_)
{
    if (pod->host_network)
        return false;
    enum choice choice = choice_of(&pod->meta);
    if (choice == CHOICE_NONE && namespace_)
        choice = choice_of(&namespace_->meta);
    return choice == CHOICE_IN;
}
