/*
 * wan.c - the WAN link of the lab: carries Ethernet frames between two interfaces, late.
 *
 * netem is not in every kernel, so the delay is made here: a frame read from one interface waits in
 * its lane and is written to the other when it is due. Frames keep their offload header
 * (PACKET_VNET_HDR), so a 64 KiB segment crosses as one frame, as it would cross a veth, and the
 * link is not what limits a benchmark.
 *
 * Happy path: epoll wakes; frames are read until there are none; what is due is written; a timer is
 * set to the next due time. Commands come as lines on standard input, each is answered by one line
 * on standard output:
 *
 *   down [IFACE]     drop what comes in on IFACE (default: on both), and what is under way from
 * there up [IFACE]       carry again delay US         one-way delay in microseconds, for frames
 * that arrive from now on loss PERMILLE    drop so many of 1000 frames at random stats one JSON
 * object
 *
 * Failure modes: a full lane or a full socket buffer drops the newest frame and counts it, as a
 * router does. The end of standard input ends the program, so it never outlives the lab that holds
 * the other end.
 *
 * Thread: one. Bound: each lane holds at most queue_bytes.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define FRAME_MAX_BYTES     (68 * 1024) /* an offload header and a 64 KiB segment with its headers */
#define QUEUE_DEFAULT_BYTES (64u << 20)
#define QUEUE_LEAST_BYTES   (1u << 20)
#define SOCKET_BUFFER_BYTES (64 << 20)
#define DELAY_DEFAULT_US    20000
#define DELAY_MOST_US       10000000
#define BATCH_FRAMES        64 /* frames read from one side before the other side gets its turn */
#define RETRY_NS            100000u
#define COMMAND_MAX_BYTES   128
#define NS_PER_US           1000u
#define NS_PER_SEC          1000000000u

/* One waiting frame; its bytes, offload header first, follow it in the ring. */
struct frame {
    uint64_t due_ns;
    size_t len;
    uint8_t bytes[];
};

/*
 * One direction. The ring holds frames whole: [head, tail) while tail is ahead, and [head, wrap)
 * then [0, tail) once the tail started over. n_waiting tells an empty ring from a full one.
 */
struct lane {
    const char *from;
    int in_fd;
    int out_fd;
    uint8_t *ring;
    size_t cap, head, tail, wrap, n_waiting;
    bool down;
    uint64_t n_frames, n_bytes, n_full, n_lost, n_down, n_refused;
};

struct wan {
    struct lane lanes[2];
    uint64_t delay_ns;
    uint32_t loss_permille;
    uint32_t random;
    int epoll_fd;
    int timer_fd;
    char command[COMMAND_MAX_BYTES];
    size_t command_len;
};

static void fail(const char *what)
{
    fprintf(stderr, "lab_wan: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_SEC + (uint64_t)now.tv_nsec;
}

/* xorshift32: which frames are lost need not be secret, only spread. */
static bool is_lost(struct wan *wan)
{
    if (wan->loss_permille == 0)
        return false;
    wan->random ^= wan->random << 13;
    wan->random ^= wan->random >> 17;
    wan->random ^= wan->random << 5;
    return wan->random % 1000 < wan->loss_permille;
}

/* ---- the ring of a lane ---- */

static size_t frame_size(size_t len)
{
    size_t align = _Alignof(struct frame);

    return (sizeof(struct frame) + len + align - 1) / align * align;
}

/* Room for the largest frame at the tail, or NULL when the lane is full. */
static struct frame *lane_reserve(struct lane *lane)
{
    size_t most = frame_size(FRAME_MAX_BYTES);

    if (lane->n_waiting == 0)
        lane->head = lane->tail = 0;
    if (lane->tail >= lane->head && !(lane->n_waiting > 0 && lane->tail == lane->head)) {
        if (lane->cap - lane->tail >= most)
            return (struct frame *)(void *)(lane->ring + lane->tail);
        if (lane->head < most)
            return NULL;
        lane->wrap = lane->tail;
        lane->tail = 0;
    }
    return lane->head - lane->tail >= most ? (struct frame *)(void *)(lane->ring + lane->tail)
                                           : NULL;
}

static void lane_push(struct lane *lane, const struct frame *frame)
{
    lane->tail += frame_size(frame->len);
    lane->n_waiting++;
}

static struct frame *lane_peek(struct lane *lane)
{
    return lane->n_waiting > 0 ? (struct frame *)(void *)(lane->ring + lane->head) : NULL;
}

static void lane_pop(struct lane *lane, const struct frame *frame)
{
    lane->head += frame_size(frame->len);
    lane->n_waiting--;
    if (lane->tail < lane->head && lane->head == lane->wrap)
        lane->head = 0;
}

static void lane_clear(struct lane *lane)
{
    lane->n_down += lane->n_waiting;
    lane->head = lane->tail = lane->n_waiting = 0;
}

/* ---- frames ---- */

/* One frame off the wire: kept, or dropped and counted. False when there was none. */
static bool lane_read_one(struct wan *wan, struct lane *lane, uint64_t due_ns)
{
    static uint8_t nowhere[FRAME_MAX_BYTES];
    struct frame *frame = lane->down ? NULL : lane_reserve(lane);
    void *into = frame != NULL ? frame->bytes : nowhere;
    ssize_t len = recv(lane->in_fd, into, FRAME_MAX_BYTES, MSG_DONTWAIT | MSG_TRUNC);

    if (len < 0) {
        if (errno == EAGAIN || errno == EINTR)
            return false;
        lane->n_refused++; /* a frame whose offload has no virtio word; any other error would come
                              again */
        return errno == EINVAL;
    }
    if (lane->down)
        lane->n_down++;
    else if (frame == NULL)
        lane->n_full++;
    else if (is_lost(wan))
        lane->n_lost++;
    else if ((size_t)len > FRAME_MAX_BYTES)
        lane->n_refused++;
    else {
        frame->len = (size_t)len;
        frame->due_ns = due_ns;
        lane_push(lane, frame);
    }
    return true;
}

static void lane_read(struct wan *wan, struct lane *lane)
{
    uint64_t due_ns = now_ns() + wan->delay_ns;

    for (unsigned i = 0; i < BATCH_FRAMES; i++) {
        if (!lane_read_one(wan, lane, due_ns))
            return;
    }
}

/* Writes what is due. Returns when to come back: the next due time, UINT64_MAX when nothing waits.
 */
static uint64_t lane_write(struct lane *lane)
{
    struct frame *frame;

    while ((frame = lane_peek(lane)) != NULL) {
        uint64_t now = now_ns();

        if (frame->due_ns > now)
            return frame->due_ns;
        if (send(lane->out_fd, frame->bytes, frame->len, MSG_DONTWAIT) >= 0) {
            lane->n_frames++;
            lane->n_bytes += frame->len - sizeof(struct virtio_net_hdr);
        } else if (errno == EAGAIN || errno == ENOBUFS || errno == EINTR) {
            return now + RETRY_NS;
        } else {
            lane->n_refused++;
        }
        lane_pop(lane, frame);
    }
    return UINT64_MAX;
}

static void wan_arm(struct wan *wan, uint64_t at_ns)
{
    struct itimerspec when = {0};

    if (at_ns != UINT64_MAX) {
        when.it_value.tv_sec = (time_t)(at_ns / NS_PER_SEC);
        when.it_value.tv_nsec = (long)(at_ns % NS_PER_SEC);
    }
    if (timerfd_settime(wan->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) != 0)
        fail("timerfd_settime");
}

/* ---- commands ---- */

static void wan_stats(const struct wan *wan)
{
    printf("{");
    for (unsigned i = 0; i < 2; i++) {
        const struct lane *lane = &wan->lanes[i];

        printf("%s\"%s\": {\"frames\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"waiting\": %zu, "
               "\"dropped_full\": %" PRIu64 ", \"dropped_loss\": %" PRIu64
               ", \"dropped_down\": %" PRIu64 ", \"refused\": %" PRIu64 "}",
               i == 0 ? "" : ", ", lane->from, lane->n_frames, lane->n_bytes, lane->n_waiting,
               lane->n_full, lane->n_lost, lane->n_down, lane->n_refused);
    }
    printf("}\n");
}

/* Cuts or mends the lanes that start at an interface; every lane when name is empty. False: no such
 * interface. */
static bool wan_set_down(struct wan *wan, const char *name, bool down)
{
    bool found = false;

    for (unsigned i = 0; i < 2; i++) {
        struct lane *lane = &wan->lanes[i];

        if (name[0] != '\0' && strcmp(name, lane->from) != 0)
            continue;
        lane->down = down;
        if (down)
            lane_clear(lane);
        found = true;
    }
    return found;
}

static bool parse_number(const char *text, unsigned long most, unsigned long *out_number)
{
    char *end;
    unsigned long number;

    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    number = strtoul(text, &end, 10);
    if (errno != 0 || *end != '\0' || number > most)
        return false;
    *out_number = number;
    return true;
}

static bool wan_obey(struct wan *wan, const char *verb, const char *argument)
{
    unsigned long number;

    if (strcmp(verb, "down") == 0)
        return wan_set_down(wan, argument, true);
    if (strcmp(verb, "up") == 0)
        return wan_set_down(wan, argument, false);
    if (strcmp(verb, "delay") == 0 && parse_number(argument, DELAY_MOST_US, &number)) {
        wan->delay_ns = number * NS_PER_US;
        return true;
    }
    if (strcmp(verb, "loss") == 0 && parse_number(argument, 1000, &number)) {
        wan->loss_permille = (uint32_t)number;
        return true;
    }
    return false;
}

static void wan_command(struct wan *wan, char *line)
{
    char *space = strchr(line, ' ');
    const char *argument = "";

    if (space != NULL) {
        *space = '\0';
        argument = space + 1;
    }
    if (strcmp(line, "stats") == 0)
        wan_stats(wan);
    else
        puts(wan_obey(wan, line, argument) ? "ok" : "error: no such command");
    fflush(stdout);
}

/* Reads commands; false at the end of standard input. A line beyond COMMAND_MAX_BYTES ends the
 * program too. */
static bool wan_read_commands(struct wan *wan)
{
    size_t room = sizeof(wan->command) - wan->command_len - 1;
    ssize_t len = read(STDIN_FILENO, wan->command + wan->command_len, room);
    char *end;

    if (len < 0)
        return errno == EAGAIN || errno == EINTR;
    if (len == 0)
        return false;
    wan->command_len += (size_t)len;
    wan->command[wan->command_len] = '\0';
    while ((end = strchr(wan->command, '\n')) != NULL) {
        size_t used = (size_t)(end - wan->command) + 1;

        *end = '\0';
        wan_command(wan, wan->command);
        wan->command_len -= used;
        memmove(wan->command, wan->command + used, wan->command_len + 1);
    }
    return true;
}

/* ---- birth ---- */

/* The kernel grants the large buffer to whoever rules the network namespace, and less to others. */
static void grow_buffer(int fd, int force_option, int option)
{
    int size = SOCKET_BUFFER_BYTES;

    if (setsockopt(fd, SOL_SOCKET, force_option, &size, sizeof(size)) != 0)
        (void)setsockopt(fd, SOL_SOCKET, option, &size, sizeof(size));
}

static int open_interface(const char *name)
{
    struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    int on = 1;

    if (fd < 0)
        fail("socket(AF_PACKET)");
    at.sll_ifindex = (int)if_nametoindex(name);
    if (at.sll_ifindex == 0)
        fail(name);
    if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) != 0)
        fail("PACKET_VNET_HDR");
    /* Without this every frame written to an interface would be read back from it. */
    if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) != 0)
        fail("PACKET_IGNORE_OUTGOING");
    grow_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF);
    grow_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF);
    if (bind(fd, (const struct sockaddr *)&at, sizeof(at)) != 0)
        fail("bind(AF_PACKET)");
    return fd;
}

static void lane_init(struct lane *lane, const char *from, int in_fd, int out_fd, size_t cap)
{
    *lane = (struct lane){.from = from, .in_fd = in_fd, .out_fd = out_fd, .cap = cap};
    lane->ring = mmap(NULL, cap, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (lane->ring == MAP_FAILED)
        fail("mmap");
}

static void watch(int epoll_fd, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        fail("epoll_ctl");
}

static void wan_open(struct wan *wan, char *const names[2], size_t queue_bytes)
{
    int fds[2] = {open_interface(names[0]), open_interface(names[1])};

    lane_init(&wan->lanes[0], names[0], fds[0], fds[1], queue_bytes);
    lane_init(&wan->lanes[1], names[1], fds[1], fds[0], queue_bytes);
    wan->random = (uint32_t)now_ns() | 1;
    wan->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    wan->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (wan->epoll_fd < 0 || wan->timer_fd < 0)
        fail("epoll_create1, timerfd_create");
    watch(wan->epoll_fd, fds[0]);
    watch(wan->epoll_fd, fds[1]);
    watch(wan->epoll_fd, wan->timer_fd);
    watch(wan->epoll_fd, STDIN_FILENO);
}

/* ---- life ---- */

/* One wake-up; false at the end of standard input. */
static bool wan_turn(struct wan *wan, const struct epoll_event *events, int n_events)
{
    for (int i = 0; i < n_events; i++) {
        int fd = events[i].data.fd;
        uint64_t expirations;

        if (fd == STDIN_FILENO && !wan_read_commands(wan))
            return false;
        if (fd == wan->timer_fd)
            (void)!read(fd, &expirations, sizeof(expirations));
        for (unsigned lane = 0; lane < 2; lane++) {
            if (fd == wan->lanes[lane].in_fd)
                lane_read(wan, &wan->lanes[lane]);
        }
    }
    return true;
}

static void wan_run(struct wan *wan)
{
    for (;;) {
        struct epoll_event events[4];
        int n_events = epoll_wait(wan->epoll_fd, events, 4, -1);
        uint64_t next[2];

        if (n_events < 0 && errno != EINTR)
            fail("epoll_wait");
        if (n_events > 0 && !wan_turn(wan, events, n_events))
            return;
        next[0] = lane_write(&wan->lanes[0]);
        next[1] = lane_write(&wan->lanes[1]);
        wan_arm(wan, next[0] < next[1] ? next[0] : next[1]);
    }
}

static void usage(void)
{
    fprintf(stderr, "usage: lab_wan [--delay-us US] [--queue-bytes BYTES] INTERFACE INTERFACE\n");
    exit(2);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"delay-us", required_argument, NULL, 'd'},
                                            {"queue-bytes", required_argument, NULL, 'q'},
                                            {0}};
    static struct wan wan;
    unsigned long delay_us = DELAY_DEFAULT_US;
    unsigned long queue_bytes = QUEUE_DEFAULT_BYTES;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        bool good = false;

        if (option == 'd')
            good = parse_number(optarg, DELAY_MOST_US, &delay_us);
        else if (option == 'q')
            good = parse_number(optarg, 1u << 30, &queue_bytes) && queue_bytes >= QUEUE_LEAST_BYTES;
        if (!good)
            usage();
    }
    if (argc - optind != 2)
        usage();
    wan.delay_ns = delay_us * NS_PER_US;
    wan_open(&wan, argv + optind, queue_bytes);
    puts("ready");
    fflush(stdout);
    wan_run(&wan);
    return 0;
}
