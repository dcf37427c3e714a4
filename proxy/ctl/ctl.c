/*
 * ctl.c - the command line: what is wanted is read first and whole, so that a wrong word asks
 * nobody anything.
 */
#include "proxy/ctl/ctl.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/percent.h"
#include "proxy/ctl/ask.h"
#include "proxy/ctl/audit.h"
#include "proxy/ctl/drill.h"
#include "proxy/ctl/page.h"
#include "proxy/ctl/table.h"

#define EXIT_FAILED     1
#define EXIT_USAGE      2
#define ADDRESS_DEFAULT "127.0.0.1:15000"
#define PAGE_BYTES_MAX  ((size_t)1 << 30)

static const char usage[] =
    "Usage: isthmus ctl [OPTION...] COMMAND [FILTER]\n"
    "\n"
    "Asks the admin port of a running `isthmus proxy` or `isthmus control`.\n"
    "\n"
    "  status                  the process, its control stream or peers, its workers\n"
    "  services [PART]         services whose host contains PART\n"
    "  endpoints [PART]        endpoints of these services. Of a proxy nearest first: the share of "
    "new\n"
    "                          connections that each gets from this node, what is in progress on\n"
    "                          it, its latency, its health, and why it gets nothing\n"
    "  routes [PART]           where requests to these services go: rule by rule, in the order in\n"
    "                          which they are tried\n"
    "  health                  what active checks from this node found, and why\n"
    "  connections [FILTER]    live connections: those in a state (accepted, connecting, pumping,\n"
    "                          serving), or those with FILTER in an address, a name or an "
    "identity\n"
    "  certs [PART]            certificates and trust bundles with PART in an identity\n"
    "  why SRC DST:PORT [METHOD PATH]\n"
    "                          would that be allowed, and why: the verdict of this proxy's "
    "policies\n"
    "                          and every rule with what kept it from matching. SRC is a SPIFFE ID, "
    "a\n"
    "                          pod (namespace/name) or an address, which is plaintext; DST a pod, "
    "an\n"
    "                          address or a service's full host name; METHOD and PATH ask about a\n"
    "                          request, where each one is judged\n"
    "  drill                   takes a cluster out of a service and judges how the others carry "
    "on\n"
    "                          (isthmus ctl drill --help)\n"
    "  audit verify [FILE...]  proves audit logs whole, offline (isthmus ctl audit --help)\n"
    "\n"
    "  --address HOST:PORT     the admin port; " ADDRESS_DEFAULT " if not said\n"
    "  --json                  the answer as it came, for programs (connections and certs "
    "unfiltered,\n"
    "                          unless FILTER is a state)\n"
    "  --wide                  all that is known of every row\n"
    "  --limit N, --offset N   endpoints: at most N of them, 1 to 1000 (1000 if not said), behind "
    "the\n"
    "                          first N; a last line says when there are more\n"
    "  -h, --help              this text\n"
    "\n"
    "Examples:\n"
    "  isthmus ctl status\n"
    "  isthmus ctl endpoints feature-store.ml-services\n"
    "  isthmus ctl endpoints --offset 1000 --limit 50\n"
    "  isthmus ctl connections connecting\n"
    "  isthmus ctl why apps/web-1 till.shop.svc.clusterset.local:80\n"
    "  isthmus ctl --json services | jq '.services[].host'\n"
    "  kubectl -n isthmus-system exec ds/isthmus-proxy -- isthmus ctl certs\n"
    "\n"
    "Exit status: 0; 1 when the process cannot be reached or refuses; 2 for wrong usage.\n";

struct command {
    const char *name;
    const char *path;
    const char *parameter; /* of the query, for the filter; NULL: the rows are filtered here only */
    bool takes_words;      /* words of the query, not a filter */
};

#define PAGE_ROWS_MAX 1000 /* of endpoints */
#define WORDS_MAX     4

static const char *const why_words[WORDS_MAX] = {"from", "to", "method", "path"};

static const struct command commands[] = {
    {"status", "/status", NULL, false},         {"services", "/services", "host", false},
    {"endpoints", "/endpoints", "host", false}, {"routes", "/routes", "host", false},
    {"health", "/health", NULL, false},         {"connections", "/connections", "state", false},
    {"certs", "/certs", NULL, false},           {"why", "/why", NULL, true},
};

struct wish { /* the command line, understood */
    const struct command *command;
    struct str address, filter;
    struct str limit, offset;
    struct str words[WORDS_MAX];
    size_t n_words;
    bool is_json, is_wide, is_help;
};

/* ---- the command line ---- */

static bool refuse(const char *what, const char *word)
{
    struct text line = {0};
    text_addf(&line, "isthmus ctl: %s \"", what);
    plain_add(&line, str_from(word));
    text_addf(&line, "\"; see isthmus ctl --help\n");
    (void)fwrite(line.ptr, 1, line.len, stderr);
    text_fini(&line);
    return false;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

static bool take_word(struct wish *wish, const char *word)
{
    if (!wish->command) {
        wish->command = find_command(word);
        return wish->command || refuse("there is no command", word);
    }
    if (wish->command->takes_words) {
        if (wish->n_words == WORDS_MAX)
            return refuse("SRC DST:PORT METHOD PATH is enough, what is", word);
        wish->words[wish->n_words++] = str_from(word);
        return true;
    }
    if (!str_is_empty(wish->filter))
        return refuse("one filter is enough, what is", word);
    wish->filter = str_from(word);
    return true;
}

/* An option with a value, behind it or behind a "=": how many arguments it takes, 0 when it is none
 * of these. */
static int take_valued(struct wish *wish, int argc, char **argv)
{
    static const char *const names[] = {"--address", "--limit", "--offset"};
    struct str *const values[] = {&wish->address, &wish->limit, &wish->offset};
    struct str option = str_from(argv[0]), value = {0};
    const bool is_whole = !str_split(option, '=', &option, &value);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (!str_eq(option, str_from(names[i])))
            continue;
        if (is_whole && argc < 2) {
            (void)refuse(i == 0 ? "HOST:PORT is missing behind" : "a number is missing behind",
                         argv[0]);
            return -1;
        }
        *values[i] = is_whole ? str_from(argv[1]) : value;
        return is_whole ? 2 : 1;
    }
    return 0;
}

static bool take_option(struct wish *wish, const char *option)
{
    if (strcmp(option, "--json") == 0)
        wish->is_json = true;
    else if (strcmp(option, "--wide") == 0)
        wish->is_wide = true;
    else if (strcmp(option, "--help") == 0 || strcmp(option, "-h") == 0)
        wish->is_help = true;
    else
        return refuse("there is no option", option);
    return true;
}

static bool is_about_endpoints(const struct wish *wish)
{
    return wish->command && strcmp(wish->command->name, "endpoints") == 0;
}

/* "" is not said. */
static bool is_number(struct str text, uint64_t min, uint64_t max)
{
    uint64_t number;
    return str_is_empty(text) || (str_to_u64(text, max, &number) && number >= min);
}

static bool are_pages_fine(const struct wish *wish)
{
    if (!is_about_endpoints(wish) && !(str_is_empty(wish->limit) && str_is_empty(wish->offset)))
        return refuse("only endpoints come in pages, not",
                      wish->command ? wish->command->name : "nothing");
    if (!is_number(wish->limit, 1, PAGE_ROWS_MAX))
        return refuse("--limit wants a number from 1 to 1000, not", wish->limit.ptr);
    if (!is_number(wish->offset, 0, UINT32_MAX))
        return refuse("--offset wants a whole number, not", wish->offset.ptr);
    return true;
}

static bool read_wish(int argc, char **argv, struct wish *wish)
{
    bool are_options_over = false;
    for (int i = 0, n_taken; i<argc; i += n_taken> 0 ? n_taken : 1) {
        const bool is_word = are_options_over || argv[i][0] != '-';
        n_taken = is_word ? 0 : take_valued(wish, argc - i, argv + i);
        bool is_fine = n_taken >= 0;
        if (is_word)
            is_fine = take_word(wish, argv[i]);
        else if (strcmp(argv[i], "--") == 0)
            are_options_over = true;
        else if (n_taken == 0)
            is_fine = take_option(wish, argv[i]);
        if (!is_fine)
            return false;
    }
    return are_pages_fine(wish);
}

/* ---- the question ---- */

static bool is_state(struct str word)
{
    return str_eq(word, STR("accepted")) || str_eq(word, STR("connecting")) ||
           str_eq(word, STR("pumping")) || str_eq(word, STR("serving"));
}

/* Whether the server is to filter: connections it can only by their state. */
static bool is_for_server(const struct wish *wish)
{
    const char *parameter = wish->command->parameter;
    if (!parameter || str_is_empty(wish->filter))
        return false;
    return strcmp(parameter, "state") != 0 || is_state(wish->filter);
}

static void add_parameter(struct text *path, const char *name, struct str value)
{
    text_addf(path, "%c%s=", str_contains(text_str(path), STR("?")) ? '&' : '?', name);
    for (size_t i = 0; i < value.len; i++) {
        const char c = value.ptr[i];
        if (percent_is_unreserved((unsigned char)c))
            text_addc(path, c);
        else
            text_addf(path, "%%%02X", (unsigned)(unsigned char)c);
    }
}

static void add_path(const struct wish *wish, struct text *path)
{
    text_addf(path, "%s", wish->command->path);
    if (is_for_server(wish))
        add_parameter(path, wish->command->parameter, wish->filter);
    for (size_t i = 0; i < wish->n_words; i++)
        add_parameter(path, why_words[i], wish->words[i]);
    if (!str_is_empty(wish->offset))
        add_parameter(path, "offset", wish->offset);
    if (!str_is_empty(wish->limit))
        add_parameter(path, "limit", wish->limit);
}

/* ---- the answer ---- */

static int fail(struct str why)
{
    struct text line = {0};
    text_addf(&line, "isthmus ctl: ");
    plain_add_lines(&line, why);
    if (!str_ends_with(why, STR("\n")))
        text_addc(&line, '\n');
    (void)fwrite(line.ptr, 1, line.len, stderr);
    text_fini(&line);
    return EXIT_FAILED;
}

static int print(struct str text)
{
    /* A reader that has seen enough (head, less) is no failure worth a word. */
    if ((fwrite(text.ptr, 1, text.len, stdout) != text.len || fflush(stdout) != 0) &&
        errno != EPIPE)
        return fail(STR("standard output cannot be written to"));
    return 0;
}

static int print_page(const struct wish *wish, struct str body)
{
    json_error_t error;
    struct text page = {.limit = PAGE_BYTES_MAX}, why = {0};
    const struct page_options options = {.filter = wish->filter, .is_wide = wish->is_wide};
    int status;
    json_t *json = json_loadb(body.ptr ? body.ptr : "", body.len, JSON_ALLOW_NUL, &error);
    if (json_is_object(json)) {
        page_print(json, &options, &page);
        status = print(text_str(&page));
    } else {
        text_addf(&why, "the answer of %.*s is no page: %s; is it the admin port of isthmus?",
                  STR_ARG(wish->address), json ? "no JSON object" : error.text);
        status = fail(text_str(&why));
    }
    json_decref(json);
    text_fini(&page);
    text_fini(&why);
    return status;
}

static int refused(const struct wish *wish, unsigned status, struct str body)
{
    struct text why = {0};
    text_addf(&why, "%.*s answered %u to %s", STR_ARG(wish->address), status, wish->command->path);
    if (status == 404)
        text_addf(&why, ", which only some processes have (certs, connections and why: a proxy)");
    if (!str_is_empty(body))
        text_addf(&why, ":\n%.*s", STR_ARG(body));
    const int exit_status = fail(text_str(&why));
    text_fini(&why);
    return exit_status;
}

static int run(const struct wish *wish)
{
    struct text path = {0}, body = {0}, why = {0};
    unsigned http_status = 0;
    int status;
    add_path(wish, &path);
    if (ask(wish->address, text_str(&path), &http_status, &body, &why) < 0)
        status = fail(text_str(&why));
    else if (http_status != 200)
        status = refused(wish, http_status, text_str(&body));
    else if (wish->is_json)
        status = print(text_str(&body));
    else
        status = print_page(wish, text_str(&body));
    text_fini(&path);
    text_fini(&body);
    text_fini(&why);
    return status;
}

int ctl_main(int argc, char **argv)
{
    struct wish wish = {.address = STR(ADDRESS_DEFAULT)};
    if (argc > 0 && strcmp(argv[0], "audit") == 0)
        return ctl_audit(argc - 1, argv + 1);
    if (argc > 0 && strcmp(argv[0], "drill") == 0)
        return ctl_drill(argc - 1, argv + 1);
    if (!read_wish(argc, argv, &wish))
        return EXIT_USAGE;
    if (wish.is_help)
        return print(str_from(usage));
    if (!wish.command) {
        (void)fputs(usage, stderr);
        return EXIT_USAGE;
    }
    if (wish.command->takes_words && wish.n_words < 2) {
        (void)fputs("isthmus ctl: why wants SRC and DST:PORT; see isthmus ctl --help\n", stderr);
        return EXIT_USAGE;
    }
    return run(&wish);
}
