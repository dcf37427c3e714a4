#include "proxy/accept/nft.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proxy/base/ensure.h"

/* Not looked up in PATH: whoever can set that would run a program with our capabilities. */
static const char *const places[] = {"/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft",
                                     "/usr/local/sbin/nft"};

#define PATIENCE_MS 10000
#define SAID_MAX    2048 /* bytes of its words that are passed on */

static const char *find(void)
{
    for (size_t i = 0; i < ARRAY_LEN(places); i++)
        if (access(places[i], X_OK) == 0)
            return places[i];
    return NULL;
}

/* Files in memory cannot fill up and block, as pipes do. */
static int memory_file(struct str content)
{
    const int fd = memfd_create("isthmus-nft", MFD_CLOEXEC);
    for (size_t done = 0; fd >= 0 && done < content.len;) {
        const ssize_t n = write(fd, content.ptr + done, content.len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            (void)close(fd);
            return -1;
        }
        done += (size_t)n;
    }
    if (fd >= 0 && lseek(fd, 0, SEEK_SET) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

/* Whatever this thread blocks or ignores, the program starts with signals as they are by default.
 */
static int start(const char *program, int in, int out, pid_t *out_pid)
{
    char name[] = "nft", option[] = "-f", from[] = "-";
    char *const arguments[] = {name, option, from, NULL};
    char *const environment[] = {NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    if (posix_spawn_file_actions_init(&files) != 0)
        return ENOMEM;
    if (posix_spawnattr_init(&attributes) != 0) {
        (void)posix_spawn_file_actions_destroy(&files);
        return ENOMEM;
    }
    int err = posix_spawn_file_actions_adddup2(&files, in, STDIN_FILENO);
    err = err ? err : posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
    err = err ? err : posix_spawn_file_actions_adddup2(&files, out, STDERR_FILENO);
    err = err ? err : posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
    err = err ? err : posix_spawnattr_setsigmask(&attributes, &none);
    err = err ? err : posix_spawnattr_setsigdefault(&attributes, &all);
    err =
        err ? err
            : posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    err = err ? err : posix_spawn(out_pid, program, &files, &attributes, arguments, environment);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&files);
    return err;
}

/* Its exit status; -1 when it had to be killed or died. Kernels before 5.3 have no descriptor to
 * wait with: there it has all the time it wants. */
static int await(pid_t pid)
{
    const int fd = pidfd_open(pid, 0);
    if (fd >= 0) {
        struct pollfd ended = {.fd = fd, .events = POLLIN};
        int n;
        do
            n = poll(&ended, 1, PATIENCE_MS);
        while (n < 0 && errno == EINTR);
        if (n <= 0)
            (void)kill(pid, SIGKILL);
        (void)close(fd);
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void add_said(int fd, struct text *why)
{
    char said[SAID_MAX];
    const ssize_t n = pread(fd, said, sizeof said, 0);
    struct str words = str_of(said, n > 0 ? (size_t)n : 0);
    while (words.len > 0 && words.ptr[words.len - 1] == '\n')
        words.len--;
    text_addf(why, "nftables: %.*s", STR_ARG(words));
}

int nft_run(struct str commands, struct text *why)
{
    const char *program = find();
    if (!program) {
        text_addf(why,
                  "nftables: the program nft is not installed (package nftables): it is none of "
                  "/usr/sbin/nft, /sbin/nft, /usr/bin/nft, /usr/local/sbin/nft");
        return -ERR_SYSTEM;
    }
    const int in = memory_file(commands), out = memory_file((struct str){0});
    pid_t pid = -1;
    int status = -1;
    int err = in < 0 || out < 0 ? errno : start(program, in, out, &pid);
    if (err != 0) {
        text_addf(why, "nftables: %s cannot be started: %s", program, strerrordesc_np(err));
    } else {
        status = await(pid);
        if (status == -1)
            text_addf(why, "nftables: %s did not end by itself within %d s", program,
                      PATIENCE_MS / 1000);
        else if (status != 0)
            add_said(out, why);
    }
    if (in >= 0)
        (void)close(in);
    if (out >= 0)
        (void)close(out);
    return status == 0 ? 0 : -ERR_SYSTEM;
}
