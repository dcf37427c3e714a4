/*
 * Workers tell what their clients hold, judge and cut under ThreadSanitizer. Each client holds its
 * bytes at two workers; what is cut is taken from them. Passes when all that was held is cut, by
 * whoever held it, no worker is told to cut whom it does not have, and nothing is owed in the end.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "proxy/flow/ledger.h"

#define WORKERS 4
#define CLIENTS 4
#define MIB     (UINT64_C(1) << 20)
#define EACH    (64 * MIB)

static struct ledger *ledger;
static _Atomic uint64_t cut_bytes;
static _Atomic int n_wrong;
static _Atomic uint64_t clock_ns = 1000;

static struct client_key client(unsigned idx)
{
    return (struct client_key){{4, {10, 0, 0, (uint8_t)idx}}, 0};
}

static unsigned index_of(const struct client_key *key)
{
    return key->ip.bytes[3];
}

static void tell(unsigned worker, uint64_t now_ns, const uint64_t *held)
{
    struct holding holdings[CLIENTS];
    size_t n = 0;
    for (unsigned i = 0; i < CLIENTS; i++) {
        if (held[i] > 0)
            holdings[n++] = (struct holding){client(i), held[i]};
    }
    ledger_tell(ledger, worker, now_ns, holdings, n);
}

/* Its own and its neighbour's client. */
static void *work(void *arg)
{
    const unsigned worker = (unsigned)(size_t)arg;
    uint64_t held[CLIENTS] = {0};
    uint64_t left = 2 * EACH;
    held[worker] = held[(worker + 1) % CLIENTS] = EACH;
    while (left > 0 && n_wrong == 0) {
        const uint64_t now_ns = atomic_fetch_add(&clock_ns, 1);
        tell(worker, now_ns, held);
        const struct ledger_verdict verdict = ledger_judge(ledger, worker, now_ns, MIB);
        if (verdict.say != LEDGER_CUT)
            continue;
        uint64_t *of = &held[index_of(&verdict.client)];
        n_wrong += *of < verdict.bytes || verdict.bytes == 0 || ledger_owed(ledger) == 0;
        *of -= verdict.bytes;
        *of = *of < 4 * MIB ? 0 : *of; /* the last of it ends by itself */
        left = held[worker] + held[(worker + 1) % CLIENTS];
        cut_bytes += verdict.bytes;
        ledger_note_cut(ledger, worker, now_ns, &verdict, verdict.bytes);
        ledger_note_paid(ledger, worker);
    }
    tell(worker, atomic_fetch_add(&clock_ns, 1), held); /* nothing */
    return NULL;
}

int main(void)
{
    pthread_t threads[WORKERS];
    ledger = ledger_new(WORKERS);
    for (size_t i = 0; i < WORKERS; i++)
        (void)pthread_create(&threads[i], NULL, work, (void *)i);
    for (size_t i = 0; i < WORKERS; i++)
        (void)pthread_join(threads[i], NULL);
    const bool is_right = n_wrong == 0 && ledger_owed(ledger) == 0 &&
                          cut_bytes > 2 * WORKERS * (EACH - 5 * MIB) &&
                          cut_bytes <= 2 * WORKERS * EACH;
    (void)printf("%d wrong, %llu MiB cut: %s\n", n_wrong, (unsigned long long)(cut_bytes / MIB),
                 is_right ? "right" : "wrong");
    ledger_free(ledger);
    return is_right ? 0 : 1;
}
