/*
 * anchors.c - a list of words, one for a source and a domain; the trust map is made anew for the
 * one domain that a change is about.
 */
#include "certs/anchors.h"

#include <string.h>

#include "certs/crl.h"
#include "proxy/base/err.h"
#include "proxy/base/list.h"
#include "proxy/base/mem.h"

#define BEGIN "-----BEGIN CERTIFICATE-----"

struct word {
    struct list link;
    const char *source; /* a constant of the caller's */
    struct text trust_domain;
    struct text pem;  /* as bundle.c writes it */
    struct text crls; /* DER */
};

struct anchors {
    struct list words;
    struct trust *trust;
    const struct trust *view;
};

static struct word *find(const struct anchors *anchors, const char *source, struct str trust_domain)
{
    list_foreach(link, &anchors->words)
    {
        struct word *word = list_entry(link, struct word, link);

        if (strcmp(word->source, source) == 0 &&
            str_eq(text_str(&word->trust_domain), trust_domain))
            return word;
    }
    return NULL;
}

static struct word *get(struct anchors *anchors, const char *source, struct str trust_domain)
{
    struct word *word = find(anchors, source, trust_domain);

    if (word)
        return word;
    word = mem_new(struct word);
    word->source = source;
    text_add(&word->trust_domain, trust_domain);
    list_push_back(&anchors->words, &word->link);
    return word;
}

static void drop(struct word *word)
{
    list_remove(&word->link);
    text_fini(&word->trust_domain);
    text_fini(&word->pem);
    text_fini(&word->crls);
    mem_free(word);
}

static void drop_if_silent(struct word *word)
{
    if (word->pem.len == 0 && word->crls.len == 0)
        drop(word);
}

/* ---- what all of them say of a domain ---- */

/* Adds the certificates that are not there yet. */
static void add_new_blocks(struct text *all, struct str pem)
{
    while (pem.len > 0) {
        const char *next =
            pem.len > 1 ? memmem(pem.ptr + 1, pem.len - 1, BEGIN, strlen(BEGIN)) : NULL;
        struct str block = str_sub(pem, 0, next ? (size_t)(next - pem.ptr) : pem.len);

        if (!str_contains(text_str(all), block))
            text_add(all, block);
        pem = str_sub(pem, block.len, pem.len);
    }
}

/* Lists that contradict the roots (from a root of the same name that is gone) must not stop a
 * change of roots: then the lists that were in force stay. */
static int join(const struct anchors *anchors, struct str trust_domain, bool is_about_crls,
                struct trust **out_trust, struct text *why)
{
    struct text pem = {0}, crls = {0};
    struct trust *with_roots = NULL;

    list_foreach(link, &anchors->words)
    {
        const struct word *word = list_entry(link, struct word, link);

        if (!str_eq(text_str(&word->trust_domain), trust_domain))
            continue;
        add_new_blocks(&pem, text_str(&word->pem));
        if (!str_contains(text_str(&crls), text_str(&word->crls)))
            text_add(&crls, text_str(&word->crls));
    }
    int err = trust_with(anchors->trust, trust_domain, text_str(&pem), &with_roots, why);
    if (err == 0) {
        struct text doubt = {0};
        err = trust_with_crls(with_roots, trust_domain, text_str(&crls), out_trust, &doubt);
        if (err < 0 && !is_about_crls) {
            *out_trust = trust_ref(with_roots);
            err = 0;
        } else if (err < 0) {
            text_add(why, text_str(&doubt));
        }
        trust_unref(with_roots);
        text_fini(&doubt);
    }
    text_fini(&pem);
    text_fini(&crls);
    return err;
}

static int publish(struct anchors *anchors, struct str trust_domain, bool is_about_crls,
                   struct text *why)
{
    struct trust *next = NULL;
    int err = join(anchors, trust_domain, is_about_crls, &next, why);

    if (err < 0)
        return err;
    trust_unref(anchors->trust);
    anchors->trust = next;
    anchors->view = next;
    return 0;
}

/* ---- words ---- */

/* The roots as bundle.c writes them: the same roots are the same text, whoever sends them. */
static int canonical(struct str trust_domain, struct str pem, struct text *out, struct text *why)
{
    struct trust *none = trust_new(), *alone = NULL;
    int err = trust_with(none, trust_domain, pem, &alone, why);

    if (err == 0 && trust_find(alone, trust_domain))
        text_add(out, trust_find(alone, trust_domain)->pem);
    trust_unref(alone);
    trust_unref(none);
    return err;
}

static void swap_text(struct text *a, struct text *b)
{
    struct text kept = *a;

    *a = *b;
    *b = kept;
}

/* Puts the new text in, and the old one back when all words together are no trust. */
static int replace(struct anchors *anchors, struct word *word, struct text *place,
                   struct text *fresh, struct text *why)
{
    int err = 0;

    if (!str_eq(text_str(place), text_str(fresh))) {
        swap_text(place, fresh);
        err = publish(anchors, text_str(&word->trust_domain), place == &word->crls, why);
        if (err < 0)
            swap_text(place, fresh);
    }
    text_fini(fresh);
    drop_if_silent(word);
    return err;
}

int anchors_set(struct anchors *anchors, const char *source, struct str trust_domain,
                struct str pem, struct text *why)
{
    struct text fresh = {0};
    int err = canonical(trust_domain, pem, &fresh, why);

    if (err < 0)
        return err;
    struct word *word = get(anchors, source, trust_domain);

    return replace(anchors, word, &word->pem, &fresh, why);
}

int anchors_set_crls(struct anchors *anchors, const char *source, struct str trust_domain,
                     struct str crls, struct text *why)
{
    struct text fresh = {0};
    int err = str_is_empty(crls) ? 0 : crl_to_der(crls, &fresh, why);

    if (err < 0) {
        text_fini(&fresh);
        return err;
    }
    struct word *word = get(anchors, source, trust_domain);

    return replace(anchors, word, &word->crls, &fresh, why);
}

static bool is_among(struct str wanted, const struct str *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(list[i], wanted))
            return true;
    return false;
}

/* Less is always a trust: removing a word cannot be refused. */
void anchors_keep(struct anchors *anchors, const char *source, const struct str *trust_domains,
                  size_t n)
{
    list_foreach(link, &anchors->words)
    {
        struct word *word = list_entry(link, struct word, link);
        struct text name = {0}, why = {0};

        if (strcmp(word->source, source) != 0 ||
            is_among(text_str(&word->trust_domain), trust_domains, n))
            continue;
        text_add(&name, text_str(&word->trust_domain));
        drop(word);
        ensure(publish(anchors, text_str(&name), false, &why) == 0);
        text_fini(&name);
        text_fini(&why);
    }
}

struct str anchors_find(const struct anchors *anchors, const char *source, struct str trust_domain)
{
    const struct word *word = find(anchors, source, trust_domain);

    return word ? text_str(&word->pem) : (struct str){0};
}

struct trust *anchors_current(const struct anchors *anchors)
{
    return anchors->trust;
}

const struct trust *const *anchors_trust(const struct anchors *anchors)
{
    return &anchors->view;
}

/* ---- life ---- */

struct anchors *anchors_new(void)
{
    struct anchors *anchors = mem_new(struct anchors);

    list_init(&anchors->words);
    anchors->trust = trust_new();
    anchors->view = anchors->trust;
    return anchors;
}

void anchors_free(struct anchors *anchors)
{
    list_foreach(link, &anchors->words) drop(list_entry(link, struct word, link));
    trust_unref(anchors->trust);
    mem_free(anchors);
}
