/*
 * drill.c - the command line of a drill: what is wanted is read whole, the nodes are found, then it
 * begins.
 */
#include "proxy/ctl/drill.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/arena.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/ctl/ask.h"
#include "proxy/ctl/drill_report.h"
#include "proxy/ctl/table.h"
#include "proxy/ctl/values.h"

#define EXIT_FAILED     1
#define EXIT_USAGE      2
#define ADDRESS_DEFAULT "127.0.0.1:15000"
#define METRICS_PORT    15020
#define LENGTH_DEFAULT  (10 * NS_PER_SEC)
#define LENGTH_MIN      (2 * NS_PER_SEC)
#define LENGTH_MAX      (3600 * NS_PER_SEC - 10 * NS_PER_SEC) /* control's own bound is 1 h */

static const char usage[] =
    "Usage: isthmus ctl drill --service NAMESPACE/NAME --cluster NAME [OPTION...]\n"
    "\n"
    "Takes a cluster out of a service for the clients of one cluster, counts where their new\n"
    "connections go before, during and after, puts it back, and says how long recovery took, what\n"
    "failed, and whether that keeps what the service's tier promises (docs/drill.md).\n"
    "Asks the admin port of `isthmus control`, and the metrics ports of the nodes.\n"
    "\n"
    "  --service NAMESPACE/NAME  an exported service; a host name will do as well\n"
    "  --cluster NAME          the cluster that is taken out\n"
    "  --for DURATION          for how long: 2s to 59m, as 10s, 500ms, 2m; 10s if not said\n"
    "  --node ADDRESS:PORT     the metrics port of a node to count on, as often as there are\n"
    "                          nodes; port 15020 of all nodes of control if not said\n"
    "  --force                 also when the other clusters could not carry the load\n"
    "  --address HOST:PORT     the admin port of control; " ADDRESS_DEFAULT " if not said\n"
    "  --json                  the figures, for programs\n"
    "  -h, --help              this text\n"
    "\n"
    "The drill is undone when it is over, with ctrl-C, 5 s after this program is killed, and when\n"
    "control goes away. Calls have to go on meanwhile: nothing is called here.\n"
    "\n"
    "Examples:\n"
    "  isthmus ctl drill --service ml-services/feature-store --cluster west\n"
    "  isthmus ctl drill --service shop/till --cluster east --for 1m --json | jq .recovery_ms\n"
    "\n"
    "Exit status: 0 when it passed; 1 when it did not, or was refused; 2 for wrong usage.\n";

struct line { /* the command line, understood */
    struct str service, cluster, address, length;
    struct str nodes[DRILL_NODES_MAX];
    size_t n_nodes;
    bool is_forced, is_json, is_help;
};

static bool refuse(const char *what, struct str word)
{
    struct text line = {0};
    text_addf(&line, "isthmus ctl drill: %s \"", what);
    plain_add(&line, word);
    text_addf(&line, "\"; see isthmus ctl drill --help\n");
    (void)fwrite(line.ptr, 1, line.len, stderr);
    text_fini(&line);
    return false;
}

static int fail(struct str why)
{
    struct text line = {0};
    text_addf(&line, "isthmus ctl drill: ");
    plain_add_lines(&line, why);
    text_addc(&line, '\n');
    (void)fwrite(line.ptr, 1, line.len, stderr);
    text_fini(&line);
    return EXIT_FAILED;
}

/* ---- the command line ---- */

static struct str *value_of(struct line *line, struct str option)
{
    if (str_eq(option, STR("--service")))
        return &line->service;
    if (str_eq(option, STR("--cluster")))
        return &line->cluster;
    if (str_eq(option, STR("--for")))
        return &line->length;
    if (str_eq(option, STR("--address")))
        return &line->address;
    if (str_eq(option, STR("--node")) && line->n_nodes < DRILL_NODES_MAX)
        return &line->nodes[line->n_nodes++];
    return NULL;
}

static bool take_flag(struct line *line, struct str option)
{
    if (str_eq(option, STR("--force")))
        line->is_forced = true;
    else if (str_eq(option, STR("--json")))
        line->is_json = true;
    else if (str_eq(option, STR("--help")) || str_eq(option, STR("-h")))
        line->is_help = true;
    else
        return refuse("there is no option", option);
    return true;
}

static bool read_line(int argc, char **argv, struct line *line)
{
    for (int i = 0; i < argc; i++) {
        struct str option = str_from(argv[i]), value = {0};
        const bool has_value = str_split(option, '=', &option, &value);
        struct str *into = value_of(line, option);
        if (!into && !take_flag(line, str_from(argv[i])))
            return false;
        if (into && !has_value && i + 1 == argc)
            return refuse("a value is missing behind", option);
        if (into)
            *into = has_value ? value : str_from(argv[++i]);
    }
    return line->is_help || !str_is_empty(line->service) ||
           refuse("which service? there is no", STR("--service"));
}

static bool read_length(struct str text, uint64_t *out_ns)
{
    static const struct {
        struct str unit;
        uint64_t ns;
    } units[] = {
        {{"ms", 2}, NS_PER_MS},
        {{"s", 1}, NS_PER_SEC},
        {{"m", 1}, 60 * NS_PER_SEC},
    };

    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        uint64_t number;
        if (!str_ends_with(text, units[i].unit) ||
            !str_to_u64(str_sub(text, 0, text.len - units[i].unit.len), LENGTH_MAX / NS_PER_MS,
                        &number))
            continue;
        const uint64_t ns = number * units[i].ns;
        *out_ns = ns;
        return ns / units[i].ns == number && ns >= LENGTH_MIN && ns <= LENGTH_MAX;
    }
    return false;
}

/* ---- the nodes ---- */

static int nodes_of_status(json_t *json, struct addr *out, size_t *out_n)
{
    json_t *nodes = json_object_get(json, "nodes");
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(nodes) && n < DRILL_NODES_MAX; i++) {
        struct addr addr;
        if (addr_parse(value_str(json_object_get(json_array_get(nodes, i), "remote")), &addr) < 0)
            continue; /* it is not connected */
        addr.port = METRICS_PORT;
        out[n++] = addr;
    }
    *out_n = n;
    return n > 0 ? 0 : -ERR_NOT_FOUND;
}

static int ask_for_nodes(struct str address, struct addr *out, size_t *out_n, struct text *why)
{
    json_error_t error;
    struct text body = {0};
    unsigned status = 0;
    int err = ask(address, STR("/status"), &status, &body, why);
    if (err == 0) {
        json_t *json = json_loadb(body.ptr ? body.ptr : "", body.len, 0, &error);
        err = nodes_of_status(json, out, out_n);
        if (err < 0)
            text_addf(why,
                      "%.*s knows of no node that is connected: is it the admin port of control? "
                      "--node names nodes",
                      STR_ARG(address));
        json_decref(json);
    }
    text_fini(&body);
    return err;
}

static int find_nodes(const struct line *line, struct addr *out, size_t *out_n, struct text *why)
{
    if (line->n_nodes == 0)
        return ask_for_nodes(line->address, out, out_n, why);
    for (size_t i = 0; i < line->n_nodes; i++) {
        const int err = ask_resolve(line->nodes[i], &out[i], why);
        if (err < 0)
            return err;
    }
    *out_n = line->n_nodes;
    return 0;
}

/* ---- the drill ---- */

/* As the metrics name it: "till.shop.svc.clusterset.local" of "shop/till". */
static void add_host(struct str service, struct text *out)
{
    struct str namespace_, name;
    if (!str_split(service, '/', &namespace_, &name))
        text_add(out, service);
    else if (str_contains(name, STR(".")))
        text_add(out, name);
    else
        text_addf(out, "%.*s.%.*s.svc.clusterset.local", STR_ARG(name), STR_ARG(namespace_));
}

static int run(const struct line *line, struct drill_wish *wish)
{
    struct drill_outcome outcome = {0};
    struct text out = {0}, why = {0};
    add_host(line->service, &outcome.host);
    drill_run(wish, &outcome);
    if (line->is_json)
        drill_print_json(wish, &outcome, &out);
    else
        drill_print(wish, &outcome, &out);
    int status = drill_judge(wish, &outcome, &why) == DRILL_PASS ? 0 : EXIT_FAILED;
    if (fwrite(out.ptr, 1, out.len, stdout) != out.len || fflush(stdout) != 0)
        status = EXIT_FAILED;
    text_fini(&out);
    text_fini(&why);
    drill_outcome_fini(&outcome);
    return status;
}

static int find_and_run(const struct line *line, uint64_t length_ns)
{
    struct addr *nodes = mem_new_array(struct addr, DRILL_NODES_MAX);
    struct drill_wish wish = {
        .nodes = nodes,
        .service = line->service,
        .cluster = line->cluster,
        .length_ns = length_ns,
        .is_forced = line->is_forced,
    };
    struct text why = {0};
    int err = ask_resolve(line->address, &wish.control, &why);
    if (err == 0)
        err = find_nodes(line, nodes, &wish.n_nodes, &why);
    const int status = err < 0 ? fail(text_str(&why)) : run(line, &wish);
    text_fini(&why);
    mem_free(nodes);
    return status;
}

int ctl_drill(int argc, char **argv)
{
    struct line line = {.address = STR(ADDRESS_DEFAULT)};
    uint64_t length_ns = LENGTH_DEFAULT;
    if (!read_line(argc, argv, &line))
        return EXIT_USAGE;
    if (line.is_help)
        return fputs(usage, stdout) < 0 ? EXIT_FAILED : 0;
    if (str_is_empty(line.cluster))
        refuse("which cluster? there is no", STR("--cluster"));
    else if (!str_is_empty(line.length) && !read_length(line.length, &length_ns))
        refuse("--for is 2s to 59m, such as 10s, not", line.length);
    else
        return find_and_run(&line, length_ns);
    return EXIT_USAGE;
}
