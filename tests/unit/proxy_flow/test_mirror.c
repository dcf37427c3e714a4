/* What a copy of a request holds back is seen by whoever looks for memory. */
#include <criterion/criterion.h>

#include "proxy/flow/mirror.h"
#include "tests/kit/loop_kit.h"

TestSuite(mirror, .timeout = 30);

static unsigned n_failed;

static void on_data(void *owner, struct slice bytes)
{
    *(size_t *)owner += bytes.len;
}

static void on_fail(void *owner, int err)
{
    (void)owner, (void)err;
    n_failed++;
}

static const struct stream_events events = {.on_data = on_data, .on_fail = on_fail};

Test(mirror, what_it_holds_back_is_kept_and_counted_up_to_its_bound)
{
    struct loop *loop = loop_new();
    struct list copies;
    size_t heard = 0;
    list_init(&copies);
    struct mirror *mirror = mirror_new(loop, &copies);
    struct stream *stream = &mirror->stream.stream;
    stream_set_owner(stream, &events, &heard);
    struct slice piece = slice_copy(loop_slabs(loop), "0123456789", 10);

    mirrors_say(&copies, piece);
    cr_expect_eq(stream_kept(stream), 10);
    stream_resume(stream);
    run_turns(loop, 2);
    cr_expect_eq(heard, 10);
    cr_expect_eq(stream_kept(stream), 0);
    stream_pause(stream);
    for (size_t i = 0; i <= MIRROR_QUEUE_MAX / 10; i++)
        mirrors_say(&copies, piece);
    cr_expect_eq(n_failed, 1, "and it is cut beyond");
    cr_expect(list_is_empty(&copies));

    slice_release(piece);
    stream_close(stream, 0);
    run_turns(loop, 2);
    loop_finish(loop);
}
