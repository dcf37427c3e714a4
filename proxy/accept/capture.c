#include "proxy/accept/capture.h"

#include "proxy/accept/nft.h"
#include "proxy/accept/routes.h"
#include "proxy/base/mem.h"

struct capture {
    struct capture_options options;
    struct text sets; /* the commands that made the sets what they are */
};

struct family {
    const char *nft;  /* "ip", "ip6" */
    const char *set;  /* pods4, pods6 */
    const char *type; /* of the set's elements */
    char digit;
};

static const struct family families[] = {
    {"ip", "pods4", "ipv4_addr", '4'},
    {"ip6", "pods6", "ipv6_addr", '6'},
};

#define SYN "tcp flags syn / syn,ack"

/* Sets the routing mark and leaves the other bits to whoever else uses them. */
static void add_to_us(struct text *out)
{
    text_addf(out, "meta mark set meta mark and 0x%x or 0x%x accept\n", ~CAPTURE_ROUTE_MASK,
              CAPTURE_ROUTE_MARK);
}

/* What a pod sends, before anybody's NAT. A chain a family, since tproxy and sets are of one. */
static void add_pod_chain(struct text *out, const struct family *family,
                          const struct capture_options *options)
{
    text_addf(out, " chain pod%c {\n", family->digit);
    text_addf(out, "  udp dport 53 tproxy %s to :%u ", family->nft, options->dns);
    add_to_us(out);
    text_addf(out, "  udp dport 53 drop\n");
    text_addf(out, "  meta l4proto != tcp accept\n");
    text_addf(out, "  tcp dport 53 " SYN " tproxy %s to :%u ", family->nft, options->dns);
    add_to_us(out);
    text_addf(out, "  " SYN " tproxy %s to :%u ", family->nft, options->outbound);
    add_to_us(out);
    text_addf(out, "  " SYN " drop\n");
    text_addf(out, "  ct direction reply accept\n");
    text_addf(out, "  fib daddr type local accept\n");
    text_addf(out, "  reject with tcp reset\n }\n");
}

/* What others open to a pod, after NAT, when its address is known. */
static void add_inbound_chain(struct text *out, const struct family *family,
                              const struct capture_options *options)
{
    text_addf(out, " chain to_pod%c {\n", family->digit);
    text_addf(out, "  tcp dport %u tproxy %s to :%u ", CAPTURE_TUNNEL_PORT, family->nft,
              options->tunnel);
    add_to_us(out);
    text_addf(out, "  tcp dport %u drop\n", CAPTURE_TUNNEL_PORT);
    text_addf(out, "  meta l4proto tcp tproxy %s to :%u ", family->nft, options->inbound);
    add_to_us(out);
    text_addf(out, "  drop\n }\n");
}

/* Packets of our connections belong to us whatever else the rules would say. A first SYN is never
 * one of them. The socket that a packet finds may also be one of our listeners, when somebody
 * else's connection through this node goes to a port with the same number: that is none of ours. A
 * listener is right only for a pod's packet: the answer to a SYN cookie. "wildcard" is said of full
 * sockets alone, which connections are not that are still in their handshake. Each "socket" looks
 * the socket up anew, which is what rules cost most: one is enough for what is somebody else's. */
static void add_established_chains(struct text *out)
{
    text_addf(out, " chain of_listener {\n");
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        text_addf(out, "  %s saddr @%s ", families[i].nft, families[i].set);
        add_to_us(out);
        text_addf(out, "  %s daddr @%s ", families[i].nft, families[i].set);
        add_to_us(out);
    }
    text_addf(out, " }\n chain of_our_socket {\n  socket wildcard 1 goto of_listener\n  ");
    add_to_us(out);
    text_addf(out, " }\n chain established {\n  socket transparent 1 goto of_our_socket\n }\n");
}

static void add_ours(struct text *out, const char *from_lo)
{
    text_addf(out, "  meta mark and 0x%x == 0x%x accept\n", CAPTURE_ROUTE_MASK, CAPTURE_ROUTE_MARK);
    text_addf(out, "  tcp flags != syn / syn,ack jump established\n");
    text_addf(out, "  iif \"lo\" %s\n", from_lo);
}

/* A pod's connection to the node itself, which we make from the pod's address: what the node
 * answers is on its way to the pod, and is brought to us. It is told by the connection, which may
 * have come here through somebody's NAT. */
static void add_from_lo_chain(struct text *out, uint32_t own_mark)
{
    text_addf(out, " chain from_lo {\n");
    for (size_t i = 0; i < ARRAY_LEN(families); i++)
        text_addf(
            out, "  meta mark 0x%x %s saddr @%s " SYN " ct mark set ct mark and 0x%x or 0x%x\n",
            own_mark, families[i].nft, families[i].set, ~CAPTURE_ROUTE_MASK, CAPTURE_ROUTE_MARK);
    text_addf(out, "  accept\n }\n");
}

static void add_from_host_chain(struct text *out)
{
    text_addf(out,
              " chain from_host {\n"
              "  type route hook output priority mangle; policy accept;\n"
              "  ct direction reply ct mark and 0x%x == 0x%x ",
              CAPTURE_ROUTE_MASK, CAPTURE_ROUTE_MARK);
    add_to_us(out);
    text_addf(out, " }\n");
}

/* What pods send over connections of ours, which is nearly all that they send, is marked as ours
 * here, so that the chains below need not look for its socket again. They do where somebody between
 * them and us took the mark away. */
static void add_raw_chains(struct text *out, const struct capture_options *options)
{
    text_addf(out, " chain called {\n  ");
    add_to_us(out);
    text_addf(out, " }\n chain pod_to_us {\n  socket mark 0x%x goto called\n  notrack ",
              options->own_mark);
    add_to_us(out);
    text_addf(out, " }\n chain untracked_tcp {\n"
                   "  " SYN " notrack accept\n"
                   "  socket transparent 1 goto pod_to_us\n }\n");
    text_addf(out, " chain untracked {\n"
                   "  meta l4proto tcp goto untracked_tcp\n"
                   "  udp dport 53 notrack\n }\n");
    text_addf(out, " chain raw_in {\n"
                   "  type filter hook prerouting priority raw; policy accept;\n"
                   "  ip saddr @pods4 goto untracked\n"
                   "  ip6 saddr @pods6 goto untracked\n }\n");
    text_addf(out,
              " chain raw_out {\n"
              "  type filter hook output priority raw; policy accept;\n"
              "  meta mark 0x%x notrack\n }\n",
              options->own_mark + 1);
}

void capture_rules(const struct capture_options *options, struct text *out)
{
    text_addf(out, "table inet isthmus {\n");
    for (size_t i = 0; i < ARRAY_LEN(families); i++)
        text_addf(out, " set %s { type %s; }\n", families[i].set, families[i].type);
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        add_pod_chain(out, &families[i], options);
        add_inbound_chain(out, &families[i], options);
    }
    add_raw_chains(out, options);
    add_established_chains(out);
    add_from_lo_chain(out, options->own_mark);
    add_from_host_chain(out);
    text_addf(out, " chain outbound {\n  type filter hook prerouting priority mangle; policy "
                   "accept;\n");
    add_ours(out, "goto from_lo");
    for (size_t i = 0; i < ARRAY_LEN(families); i++)
        text_addf(out, "  %s saddr @%s goto pod%c\n", families[i].nft, families[i].set,
                  families[i].digit);
    text_addf(out, " }\n chain inbound {\n  type filter hook prerouting priority -90; policy "
                   "accept;\n");
    add_ours(out, "accept");
    for (size_t i = 0; i < ARRAY_LEN(families); i++)
        text_addf(out, "  %s daddr @%s " SYN " goto to_pod%c\n", families[i].nft, families[i].set,
                  families[i].digit);
    text_addf(out, " }\n}\n");
}

static int remove_table(struct text *why)
{
    struct text commands = {0};
    /* "add" first, so that deleting what is not there is no error. */
    text_addf(&commands, "add table inet isthmus\ndelete table inet isthmus\n");
    const int err = nft_run(text_str(&commands), why);
    text_fini(&commands);
    return err;
}

static void add_elements(struct text *commands, const struct family *family, uint8_t ip_len,
                         const struct snapshot *snapshot)
{
    char buf[IP_TEXT_MAX];
    bool is_first = true;
    text_addf(commands, "flush set inet isthmus %s\n", family->set);
    for (size_t i = 0; i < snapshot->n_local; i++) {
        const struct workload *workload = snapshot->local[i];
        for (size_t j = 0; j < workload->n_addresses; j++) {
            if (workload->addresses[j].len != ip_len)
                continue;
            if (is_first)
                text_addf(commands, "add element inet isthmus %s { ", family->set);
            text_addf(commands, "%s%s", is_first ? "" : ", ",
                      ip_text(&workload->addresses[j], buf));
            is_first = false;
        }
    }
    if (!is_first)
        text_addf(commands, " }\n");
}

/* The commands that make the sets hold the snapshot's pods. */
static void add_sets(struct text *commands, const struct snapshot *snapshot)
{
    add_elements(commands, &families[0], 4, snapshot);
    add_elements(commands, &families[1], 16, snapshot);
}

static int replace_table(struct capture *capture, const struct snapshot *snapshot, struct text *why)
{
    struct text commands = {0};
    add_sets(&capture->sets, snapshot);
    text_addf(&commands, "add table inet isthmus\ndelete table inet isthmus\n");
    capture_rules(&capture->options, &commands);
    text_add(&commands, text_str(&capture->sets));
    const int err = nft_run(text_str(&commands), why);
    text_fini(&commands);
    return err;
}

static void free_capture(struct capture *capture)
{
    text_fini(&capture->sets);
    mem_free(capture);
}

int capture_install(const struct capture_options *options, const struct snapshot *snapshot,
                    struct capture **out_capture, struct text *why)
{
    struct capture *capture = mem_new(struct capture);
    capture->options = *options;
    int err = routes_add(options->route_table, CAPTURE_ROUTE_MARK, CAPTURE_ROUTE_MASK, why);
    if (err < 0)
        goto fail;
    err = replace_table(capture, snapshot, why);
    if (err < 0)
        goto fail;
    *out_capture = capture;
    return 0;
fail:
    free_capture(capture);
    return err;
}

int capture_update(struct capture *capture, const struct snapshot *snapshot, struct text *why)
{
    struct text commands = {0};
    add_sets(&commands, snapshot);
    if (str_eq(text_str(&commands), text_str(&capture->sets))) {
        text_fini(&commands);
        return 0;
    }
    const int err = nft_run(text_str(&commands), why);
    if (err < 0) {
        text_fini(&commands);
        return err;
    }
    text_fini(&capture->sets);
    capture->sets = commands;
    return 0;
}

void capture_close(struct capture *capture, bool hold)
{
    struct text ignored = {0};
    if (!hold) {
        (void)remove_table(&ignored);
        routes_remove(capture->options.route_table, CAPTURE_ROUTE_MARK, CAPTURE_ROUTE_MASK);
    }
    text_fini(&ignored);
    free_capture(capture);
}
