/*
 * verified.c - a small table: sets by a hash of the key, a few ways each. The hash only finds the
 * set; whoever collides on purpose displaces itself and its neighbours, who are then verified.
 */
#include "certs/verified.h"

#include <openssl/err.h>
#include <string.h>

#include "certs/cert.h"
#include "proxy/base/mem.h"

struct verified_set {
    struct verified_peer ways[VERIFIED_WAYS];
    unsigned next; /* the way that is filled next */
};

struct verified {
    uint64_t generation; /* of the trust that all of it rests on */
    struct verified_set sets[VERIFIED_SETS];
};

static void forget(struct verified_peer *peer)
{
    mem_free((void *)(uintptr_t)peer->key.ptr);
    cert_list_free(peer->path);
    *peer = (struct verified_peer){0};
}

static void forget_all(struct verified *verified)
{
    for (size_t i = 0; i < VERIFIED_SETS; i++)
        for (size_t k = 0; k < VERIFIED_WAYS; k++)
            forget(&verified->sets[i].ways[k]);
}

struct verified *verified_new(void)
{
    return mem_new(struct verified);
}

void verified_free(struct verified *verified)
{
    if (verified)
        forget_all(verified);
    mem_free(verified);
}

/* Appends a certificate's DER; false when there is no room. */
static bool add_cert(uint8_t *room, size_t *len, X509 *cert)
{
    const int n_bytes = i2d_X509(cert, NULL);
    uint8_t *at = room + *len;

    if (n_bytes <= 0 || (size_t)n_bytes > VERIFIED_KEY_MAX - *len) {
        ERR_clear_error();
        return false;
    }
    ensure(i2d_X509(cert, &at) == n_bytes);
    *len += (size_t)n_bytes;
    return true;
}

/* DER says where it ends, so that what follows each other cannot be read in two ways. */
struct str verified_key(uint8_t *room, enum verify_role role, X509 *leaf,
                        const STACK_OF(X509) * chain)
{
    const int n_sent = chain ? sk_X509_num(chain) : 0;
    size_t len = 1;

    room[0] = (uint8_t)role;
    if (!add_cert(room, &len, leaf))
        return (struct str){0};
    for (int i = 0; i < n_sent; i++)
        if (sk_X509_value(chain, i) != leaf && !add_cert(room, &len, sk_X509_value(chain, i)))
            return (struct str){0};
    return str_of(room, len);
}

static struct verified_set *set_of(struct verified *verified, struct str key)
{
    return &verified->sets[str_hash(key, 0) % VERIFIED_SETS];
}

const struct verified_peer *verified_find(struct verified *verified, const struct trust *trust,
                                          struct str key, int64_t now_ns)
{
    const struct verified_set *set = set_of(verified, key);

    if (verified->generation != trust->generation)
        return NULL;
    for (size_t i = 0; i < VERIFIED_WAYS; i++) {
        const struct verified_peer *peer = &set->ways[i];

        if (str_eq(peer->key, key))
            return now_ns >= peer->from_ns && now_ns < peer->until_ns ? peer : NULL;
    }
    return NULL;
}

void verified_put(struct verified *verified, const struct trust *trust,
                  const struct verified_peer *peer)
{
    struct verified_set *set = set_of(verified, peer->key);
    struct verified_peer *kept = &set->ways[set->next];

    if (verified->generation != trust->generation)
        forget_all(verified);
    verified->generation = trust->generation;
    set->next = (set->next + 1) % VERIFIED_WAYS;
    forget(kept);
    char *bytes = mem_alloc(peer->key.len + peer->id.len);
    memcpy(bytes, peer->key.ptr, peer->key.len);
    memcpy(bytes + peer->key.len, peer->id.ptr, peer->id.len);
    *kept = *peer;
    kept->key = str_of(bytes, peer->key.len);
    kept->id = str_of(bytes + peer->key.len, peer->id.len);
    kept->path = X509_chain_up_ref(peer->path);
    ensure(kept->path);
}
