#include <criterion/criterion.h>

#include "proxy/base/list.h"

TestSuite(list, .timeout = 5);

struct item {
    int number;
    struct list link;
};

static int number_at(const struct list *head, int idx)
{
    const struct list *at = head->next;

    while (idx-- > 0)
        at = at->next;
    return list_entry(at, struct item, link)->number;
}

Test(list, keeps_the_order_of_pushes_at_both_ends)
{
    struct list head;
    struct item items[3] = {{.number = 1}, {.number = 2}, {.number = 3}};

    list_init(&head);
    cr_assert(list_is_empty(&head));
    list_push_back(&head, &items[1].link);
    list_push_back(&head, &items[2].link);
    list_push_front(&head, &items[0].link);

    for (int i = 0; i < 3; i++)
        cr_assert_eq(number_at(&head, i), i + 1);
}

Test(list, removing_is_harmless_when_unfiled_or_zeroed)
{
    struct list head;
    struct item item = {0};

    list_init(&head);
    list_remove(&item.link);
    list_push_back(&head, &item.link);
    list_remove(&item.link);
    list_remove(&item.link);

    cr_assert(list_is_empty(&head));
    cr_assert(list_is_empty(&item.link));
}

Test(list, the_body_may_remove_the_current_element)
{
    struct list head;
    struct item items[5] = {
        {.number = 0}, {.number = 1}, {.number = 2}, {.number = 3}, {.number = 4}};
    int visited = 0;

    list_init(&head);
    for (int i = 0; i < 5; i++)
        list_push_back(&head, &items[i].link);
    list_foreach(it, &head)
    {
        if (list_entry(it, struct item, link)->number % 2 == 0)
            list_remove(it);
        visited++;
    }

    cr_assert_eq(visited, 5);
    cr_assert_eq(number_at(&head, 0), 1);
    cr_assert_eq(number_at(&head, 1), 3);
    cr_assert_eq(head.prev, &items[3].link);
}
