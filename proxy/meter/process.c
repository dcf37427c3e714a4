#include "proxy/meter/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "proxy/base/clock.h"
#include "proxy/meter/exposition.h"

/* Fields of /proc/self/stat, counted from the one after the command's closing parenthesis (proc(5)
 * numbers minus 3). */
enum stat_field {
    STAT_THREADS = 17,
    STAT_START_TICKS = 19,
    STAT_VIRTUAL_BYTES = 20,
    STAT_PAGES = 21
};

#define STAT_FIELDS 22

static bool read_stat(uint64_t *out_fields)
{
    char bytes[1024];
    struct str rest, command, field;
    ssize_t len;
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return false;
    len = read(fd, bytes, sizeof(bytes));
    (void)close(fd);
    if (len <= 0 || !str_rsplit(str_of(bytes, (size_t)len), ')', &command, &rest))
        return false;
    rest = str_sub(rest, 1, rest.len);
    for (unsigned i = 0; i < STAT_FIELDS; i++) {
        if (!str_split(rest, ' ', &field, &rest))
            return false;
        if (!str_to_u64(field, UINT64_MAX, &out_fields[i]))
            out_fields[i] = 0; /* the state letter and what may be negative: not asked for */
    }
    return true;
}

static void add_gauge(struct text *out, const char *name, const char *help, uint64_t value)
{
    exposition_head(out, name, "gauge", help);
    text_addf(out, "%s %llu\n", name, (unsigned long long)value);
}

/* When the process began, from the age of its start tick: the kernel counts ticks from boot. */
static double start_time_seconds(uint64_t start_ticks)
{
    struct timespec up;
    double started, now = (double)clock_wall_ns() / (double)NS_PER_SEC;

    if (clock_gettime(CLOCK_BOOTTIME, &up) != 0)
        return now;
    started = (double)start_ticks / (double)sysconf(_SC_CLK_TCK);
    return now - ((double)up.tv_sec + (double)up.tv_nsec / (double)NS_PER_SEC) + started;
}

static void write_stat(struct text *out)
{
    uint64_t stat[STAT_FIELDS];
    uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);

    if (!read_stat(stat))
        return;
    add_gauge(out, "process_virtual_memory_bytes", "Virtual memory size in bytes (unstable)",
              stat[STAT_VIRTUAL_BYTES]);
    add_gauge(out, "process_resident_memory_bytes", "Resident memory size in bytes (unstable)",
              stat[STAT_PAGES] * page_bytes);
    add_gauge(out, "process_threads", "Threads of the process (unstable)", stat[STAT_THREADS]);
    exposition_head(out, "process_start_time_seconds", "gauge",
                    "Start time of the process since the Unix epoch in seconds (unstable)");
    text_addf(out, "process_start_time_seconds %.2f\n", start_time_seconds(stat[STAT_START_TICKS]));
}

static void write_cpu(struct text *out)
{
    struct rusage usage;
    double seconds;

    if (getrusage(RUSAGE_SELF, &usage) != 0)
        return;
    seconds = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
              (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    exposition_head(out, "process_cpu_seconds_total", "counter",
                    "Total user and system CPU time spent in seconds (unstable)");
    text_addf(out, "process_cpu_seconds_total %.6f\n", seconds);
}

static void write_descriptors(struct text *out)
{
    struct rlimit limit;
    uint64_t n_open = 0;
    DIR *dir = opendir("/proc/self/fd");

    if (dir) {
        /* Its entries: the descriptors, "." and "..", and the one that reads the directory. */
        /* A stream of our own. NOLINTNEXTLINE(concurrency-mt-unsafe) */
        while (readdir(dir))
            n_open++;
        (void)closedir(dir);
        add_gauge(out, "process_open_fds", "Number of open file descriptors (unstable)",
                  n_open >= 3 ? n_open - 3 : 0);
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        add_gauge(out, "process_max_fds", "Maximum number of open file descriptors (unstable)",
                  limit.rlim_cur);
}

uint64_t process_resident_bytes(void)
{
    uint64_t stat[STAT_FIELDS];

    return read_stat(stat) ? stat[STAT_PAGES] * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

void process_write(struct text *out)
{
    write_cpu(out);
    write_stat(out);
    write_descriptors(out);
}
