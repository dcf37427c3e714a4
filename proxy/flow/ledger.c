#include "proxy/flow/ledger.h"

#include <pthread.h>

#include "proxy/base/ensure.h"
#include "proxy/base/mem.h"

struct page { /* of a worker */
    struct holding holdings[LEDGER_HOLDINGS];
    size_t n_holdings;
    uint64_t told_ns; /* 0: it has not looked */
    uint64_t owed_bytes;
};

struct ledger {
    pthread_mutex_t lock;
    unsigned n_workers;
    uint64_t short_ns; /* since when memory is short; 0: it is not */
    uint64_t cut_ns;   /* when somebody cut last; 0: never */
    struct page pages[];
};

struct ledger *ledger_new(unsigned n_workers)
{
    struct ledger *ledger = mem_zalloc(sizeof *ledger + n_workers * sizeof *ledger->pages);
    ensure(pthread_mutex_init(&ledger->lock, NULL) == 0);
    ledger->n_workers = n_workers;
    return ledger;
}

void ledger_free(struct ledger *ledger)
{
    if (!ledger)
        return;
    (void)pthread_mutex_destroy(&ledger->lock);
    mem_free(ledger);
}

bool client_key_eq(const struct client_key *a, const struct client_key *b)
{
    return a->identity == b->identity && ip_eq(&a->ip, &b->ip);
}

static struct page *lock_page(struct ledger *ledger, unsigned worker)
{
    ensure(worker < ledger->n_workers);
    (void)pthread_mutex_lock(&ledger->lock);
    return &ledger->pages[worker];
}

static void unlock(struct ledger *ledger)
{
    (void)pthread_mutex_unlock(&ledger->lock);
}

void ledger_tell(struct ledger *ledger, unsigned worker, uint64_t now_ns,
                 const struct holding *holdings, size_t n_holdings)
{
    ensure(n_holdings <= LEDGER_HOLDINGS);
    struct page *page = lock_page(ledger, worker);
    for (size_t i = 0; i < n_holdings; i++)
        page->holdings[i] = holdings[i];
    page->n_holdings = n_holdings;
    page->told_ns = now_ns;
    unlock(ledger);
}

void ledger_forget(struct ledger *ledger, unsigned worker)
{
    struct page *page = lock_page(ledger, worker);
    page->n_holdings = 0;
    page->told_ns = 0;
    unlock(ledger);
}

void ledger_note_enough(struct ledger *ledger)
{
    (void)lock_page(ledger, 0);
    ledger->short_ns = 0;
    unlock(ledger);
}

uint64_t ledger_owed(struct ledger *ledger)
{
    uint64_t bytes = 0;
    (void)lock_page(ledger, 0);
    for (unsigned i = 0; i < ledger->n_workers; i++)
        bytes += ledger->pages[i].owed_bytes;
    unlock(ledger);
    return bytes;
}

/* ---- under the lock ---- */

static uint64_t held_of(const struct page *page, const struct client_key *client)
{
    for (size_t i = 0; i < page->n_holdings; i++) {
        if (client_key_eq(&page->holdings[i].client, client))
            return page->holdings[i].bytes;
    }
    return 0;
}

static uint64_t held_everywhere(const struct ledger *ledger, const struct client_key *client)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < ledger->n_workers; i++)
        bytes += held_of(&ledger->pages[i], client);
    return bytes;
}

/* NULL: nobody holds much. */
static const struct client_key *find_most(const struct ledger *ledger)
{
    const struct client_key *found = NULL;
    uint64_t most = LEDGER_BYTES_MIN - 1;
    for (unsigned i = 0; i < ledger->n_workers; i++) {
        const struct page *page = &ledger->pages[i];
        for (size_t at = 0; at < page->n_holdings; at++) {
            const struct client_key *client = &page->holdings[at].client;
            const uint64_t bytes = held_everywhere(ledger, client);
            if (bytes <= most)
                continue;
            most = bytes;
            found = client;
        }
    }
    return found;
}

static bool have_all_told(const struct ledger *ledger, uint64_t now_ns)
{
    for (unsigned i = 0; i < ledger->n_workers; i++) {
        const uint64_t told_ns = ledger->pages[i].told_ns;
        if (told_ns == 0 || now_ns > told_ns + LEDGER_TOLD_NS)
            return false;
    }
    return true;
}

/* And there is hope that it was enough: who comes again each second, to be cut for as little as one
 * is cut for, is no reason to let all others go beyond the bound. */
static bool is_cut_of_late(const struct ledger *ledger, uint64_t now_ns)
{
    return ledger->cut_ns > 0 && now_ns < ledger->cut_ns + LEDGER_PATIENCE_NS &&
           now_ns < ledger->short_ns + LEDGER_SHORT_NS;
}

static enum ledger_say say(const struct ledger *ledger, const struct page *own, uint64_t now_ns,
                           struct client_key *out_client)
{
    if (!have_all_told(ledger, now_ns) && now_ns < ledger->short_ns + LEDGER_TOLD_NS)
        return LEDGER_WAIT;
    const struct client_key *most = find_most(ledger);
    if (!most) /* who was cut just now and comes again holds little yet */
        return is_cut_of_late(ledger, now_ns) ? LEDGER_WAIT : LEDGER_NOBODY;
    *out_client = *most;
    if (held_of(own, most) > 0)
        return LEDGER_CUT;
    if (is_cut_of_late(ledger, now_ns) || now_ns < ledger->short_ns + LEDGER_PATIENCE_NS)
        return LEDGER_WAIT;
    return LEDGER_NOBODY;
}

struct ledger_verdict ledger_judge(struct ledger *ledger, unsigned worker, uint64_t now_ns,
                                   uint64_t need_bytes)
{
    struct ledger_verdict verdict = {LEDGER_WAIT, {{0}, 0}, 0};
    struct page *own = lock_page(ledger, worker);
    if (ledger->short_ns == 0)
        ledger->short_ns = now_ns;
    verdict.say = say(ledger, own, now_ns, &verdict.client);
    if (verdict.say == LEDGER_CUT) {
        const uint64_t held = held_of(own, &verdict.client);
        verdict.bytes = held < need_bytes ? held : need_bytes;
        own->owed_bytes += verdict.bytes; /* so that no other worker cuts for it too */
    }
    unlock(ledger);
    return verdict;
}

void ledger_note_cut(struct ledger *ledger, unsigned worker, uint64_t now_ns,
                     const struct ledger_verdict *verdict, uint64_t bytes)
{
    struct page *own = lock_page(ledger, worker);
    own->owed_bytes += bytes;
    own->owed_bytes -= own->owed_bytes < verdict->bytes ? own->owed_bytes : verdict->bytes;
    if (bytes > 0)
        ledger->cut_ns = now_ns;
    unlock(ledger);
}

void ledger_note_paid(struct ledger *ledger, unsigned worker)
{
    lock_page(ledger, worker)->owed_bytes = 0;
    unlock(ledger);
}
