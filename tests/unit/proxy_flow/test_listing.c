/* Flows come and go between two pages of a listing. */
#include <criterion/criterion.h>

#include "proxy/base/ensure.h"
#include "proxy/flow/listing.h"

TestSuite(flow_listing, .timeout = 10);

#define ITEMS 100

static struct item {
    struct list link;
    uint64_t number;
    unsigned n_seen;
    bool is_there;
} items[ITEMS * 2];

static struct listing listing;
static uint64_t n_added;

static uint64_t number_of(struct list *link)
{
    return list_entry(link, struct item, link)->number;
}

static void add(void)
{
    struct item *item = &items[n_added];
    *item = (struct item){.number = ++n_added * 3, .is_there = true};
    listing_add(&listing, &item->link);
}

static void drop(unsigned idx)
{
    items[idx].is_there = false;
    listing_remove(&listing, &items[idx].link);
}

static void setup(void)
{
    n_added = 0;
    listing_init(&listing);
    for (unsigned i = 0; i < ITEMS; i++)
        add();
}

/* n more behind the number; the number of the last, or 0 at the end. */
static uint64_t look(uint64_t number, unsigned n)
{
    struct list *at = listing_seek(&listing, number, number_of);
    for (unsigned i = 0; i < n; i++) {
        at = at->next;
        if (at == &listing.items)
            return 0;
        list_entry(at, struct item, link)->n_seen++;
    }
    listing_keep(&listing, at, number_of(at));
    return number_of(at);
}

static void expect_each_seen_once(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        cr_expect(items[i].n_seen == 1 || (items[i].n_seen == 0 && !items[i].is_there), "%u", i);
}

Test(flow_listing, each_is_seen_once_whatever_goes_in_between, .init = setup)
{
    unsigned turn = 0;
    for (uint64_t number = look(0, 7); number != 0; number = look(number, 7)) {
        const unsigned last = (unsigned)(number / 3 - 1);
        if (items[last].is_there)
            drop(last); /* where the page ended, */
        if (turn++ % 2 && items[last - 1].is_there)
            drop(last - 1); /* one before it, */
        if (last + 2 < ITEMS)
            drop(last + 2); /* and one that is to come */
    }
    expect_each_seen_once(ITEMS);
}

Test(flow_listing, who_comes_meanwhile_stands_at_the_end, .init = setup)
{
    uint64_t number = look(0, 99);
    add();
    number = look(number, 2);
    cr_expect_eq(number, (ITEMS + 1) * 3);
    expect_each_seen_once(ITEMS + 1);
}

Test(flow_listing, more_listings_than_places_only_look_longer, .init = setup)
{
    enum { LISTINGS = LISTING_PLACES * 2 };

    uint64_t numbers[LISTINGS] = {0};
    for (unsigned n = 0; n < ITEMS / 10; n++)
        for (unsigned i = 0; i < LISTINGS; i++)
            numbers[i] = look(numbers[i], 10);
    for (unsigned i = 0; i < ITEMS; i++)
        cr_expect_eq(items[i].n_seen, LISTINGS);
    for (unsigned i = 0; i < LISTINGS; i++)
        cr_expect_eq(look(numbers[i], 1), 0);
}

Test(flow_listing, when_all_have_gone_a_place_is_the_beginning, .init = setup)
{
    const uint64_t number = look(0, 50);
    for (unsigned i = ITEMS; i-- > 0;)
        drop(i);
    add();
    cr_expect_eq(look(number, 1), n_added * 3);
}
