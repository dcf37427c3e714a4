/*
 * The admin port's page of live connections, of which there may be very many.
 *
 * Happy path: the first worker is asked for a page of its flows -> that goes out as a piece of the
 * answer -> once the client has taken it the next is asked for -> ... -> the last worker's last.
 * So a worker is held up for one page at a time, and one page is in memory, however slowly somebody
 * reads. Each connection that lives all the while is shown once.
 * Failure modes: the client leaves (nothing more is asked); the process ends meanwhile (the answer
 * is cut, so that it is not taken for whole).
 */
#include "proxy/admin/admin.h"
#include "proxy/base/mem.h"
#include "proxy/run/node_state.h"

#define SHOWN_MAX 10000 /* of a worker */

struct connections_page {
    struct node *node;
    struct h1_exchange *exchange;
    struct arena arena;
    struct flow_page next;
    unsigned worker; /* that is asked */
    size_t n_shown;  /* of it */
    bool has_shown, has_more;
};

static void free_page(struct connections_page *page)
{
    arena_fini(&page->arena);
    mem_free(page);
}

static void on_report(void *owner, struct worker_report *report);

static void ask(struct connections_page *page)
{
    const struct worker_question question = {.wants_flows = true, .page = page->next};
    if (!page->node->is_closing) {
        worker_ask(page->node->workers[page->worker], &question, on_report, page);
        return;
    }
    h1_pieces_abort(page->exchange);
    free_page(page);
}

/* More were there than are shown: that is said, and not left to be guessed. */
static void end(struct connections_page *page)
{
    h1_pieces_end(page->exchange, page->has_more ? STR("],\"truncated\":true}\n") : STR("]}\n"));
    free_page(page);
}

static void go_on(struct connections_page *page)
{
    if (h1_pieces_is_gone(page->exchange) || page->worker == page->node->n_workers)
        end(page);
    else
        ask(page);
}

static void on_room(void *owner)
{
    go_on(owner);
}

static void note(struct connections_page *page, const struct worker_report *report)
{
    page->next = report->page;
    page->n_shown += report->page.n;
    if (report->page.has_more && page->n_shown < SHOWN_MAX)
        return;
    page->has_more = page->has_more || report->page.has_more;
    page->worker++;
    page->n_shown = 0;
    page->next.after_id = page->next.below_id = 0;
}

static void on_report(void *owner, struct worker_report *report)
{
    struct connections_page *page = owner;
    struct text piece = {0};
    enum h1_room room = H1_GO_ON;
    note(page, report);
    if (report->flows.len > 0) {
        if (page->has_shown)
            text_addc(&piece, ',');
        text_add(&piece, text_str(&report->flows));
        page->has_shown = true;
        room = h1_pieces_go_on(page->exchange, text_str(&piece));
    }
    text_fini(&piece);
    text_fini(&report->flows);
    if (room != H1_WAIT)
        go_on(page);
}

void node_answer_connections(void *owner, struct h1_exchange *exchange,
                             const struct h1_request *request)
{
    struct connections_page *page = mem_new(struct connections_page);
    page->node = owner;
    page->exchange = exchange;
    page->next = (struct flow_page){.state = h1_query(&page->arena, request->query, "state"),
                                    .max = FLOW_PAGE};
    admin_answer_json_begin(exchange, on_room, page);
    if (h1_pieces_go_on(exchange, STR("{\"connections\":[")) != H1_WAIT)
        go_on(page);
}
