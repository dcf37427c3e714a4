#include "ctl_kit.h"

#include <criterion/criterion.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proxy/base/addr.h"
#include "proxy/base/mem.h"
#include "proxy/ctl/ctl.h"
#include "proxy/http/h1_server.h"
#include "proxy/io/thread.h"

#define WORDS_MAX 16

struct server {
    const struct canned *pages;
    size_t n_pages;
    struct thread *thread;
    struct h1_server *h1;
    sem_t is_open;
    char address[ADDR_TEXT_MAX];
    char asked[1024];
};

static void handle(void *owner, struct h1_exchange *exchange, const struct h1_request *request)
{
    struct server *server = owner;
    snprintf(server->asked, sizeof(server->asked), "%.*s%s%.*s", STR_ARG(request->path),
             request->query.len > 0 ? "?" : "", STR_ARG(request->query));
    for (size_t i = 0; i < server->n_pages; i++) {
        if (str_eq(request->path, str_from(server->pages[i].path))) {
            h1_answer(exchange, server->pages[i].status, "application/json",
                      str_from(server->pages[i].body));
            return;
        }
    }
    h1_answer(exchange, 404, "text/plain", STR("not found; there are /a and /b\n"));
}

static void setup(void *receiver, struct loop *loop, struct mailbox *mailbox)
{
    struct server *server = receiver;
    struct addr local = {0};
    int errnum = 0;
    (void)mailbox;
    cr_assert_eq(ip_parse(STR("127.0.0.1"), &local.ip), 0);
    cr_assert_eq(h1_server_open(loop, &local, handle, server, &server->h1, &errnum), 0);
    local = h1_server_addr(server->h1);
    addr_text(&local, server->address);
    sem_post(&server->is_open);
}

static void teardown(void *receiver)
{
    h1_server_close(((struct server *)receiver)->h1);
}

struct server *server_start(const struct canned *pages, size_t n_pages)
{
    struct server *server = mem_new(struct server);
    const struct thread_job job = {"admin", setup, teardown, server};
    server->pages = pages;
    server->n_pages = n_pages;
    sem_init(&server->is_open, 0, 0);
    server->thread = thread_start(&job);
    sem_wait(&server->is_open);
    return server;
}

const char *server_address(const struct server *server)
{
    return server->address;
}

const char *server_asked(const struct server *server)
{
    return server->asked;
}

void server_stop(struct server *server)
{
    thread_stop(server->thread);
    sem_destroy(&server->is_open);
    mem_free(server);
}

/* ---- the client ---- */

struct capture {
    FILE *stream, *file;
    int saved;
};

static void begin(struct capture *capture, FILE *stream)
{
    fflush(stream);
    *capture = (struct capture){stream, tmpfile(), dup(fileno(stream))};
    cr_assert(capture->file && capture->saved >= 0);
    cr_assert(dup2(fileno(capture->file), fileno(stream)) >= 0);
}

static void end(struct capture *capture, char *out, size_t size)
{
    fflush(capture->stream);
    cr_assert(dup2(capture->saved, fileno(capture->stream)) >= 0);
    close(capture->saved);
    rewind(capture->file);
    out[fread(out, 1, size - 1, capture->file)] = '\0';
    fclose(capture->file);
}

void run_ctl(const struct server *server, const char *line, struct outcome *outcome)
{
    static char words[4096];
    char *argv[WORDS_MAX + 2] = {0}, *rest = words;
    int argc = 0;
    struct capture out, err;
    snprintf(words, sizeof(words), "%s", line);
    for (char *word; argc < WORDS_MAX && (word = strsep(&rest, " ")) != NULL;) {
        static char option[] = "--address";
        if (strcmp(word, "@") == 0)
            argv[argc++] = option;
        if (*word)
            argv[argc++] = strcmp(word, "@") == 0 ? (char *)(size_t)server->address : word;
    }
    begin(&out, stdout);
    begin(&err, stderr);
    outcome->status = ctl_main(argc, argv);
    end(&err, outcome->err, sizeof(outcome->err));
    end(&out, outcome->out, sizeof(outcome->out));
}
