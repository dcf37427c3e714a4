/*
 * replay.c - the main of a fuzz target in builds without libFuzzer: feeds it every file of the
 * folders given.
 *
 * A corpus that is not there or is empty fails: a replay of nothing would prove nothing.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "proxy/base/mem.h"

#define REPLAY_BYTES_MAX ((size_t)16 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The copy has exactly the file's size, so that AddressSanitizer sees a read past its end. */
static size_t replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return 0;
    }
    uint8_t *bytes = mem_alloc(REPLAY_BYTES_MAX);
    size_t len = fread(bytes, 1, REPLAY_BYTES_MAX, file);
    fclose(file);
    uint8_t *exact = mem_alloc(len ? len : 1);
    memcpy(exact, bytes, len);
    mem_free(bytes);
    LLVMFuzzerTestOneInput(exact, len);
    mem_free(exact);
    return 1;
}

static size_t replay_folder(const char *path)
{
    struct dirent **entries = NULL;
    int n_entries = scandir(path, &entries, NULL, alphasort);
    if (n_entries < 0) {
        perror(path);
        return 0;
    }
    size_t n_fed = 0;
    for (int i = 0; i < n_entries; i++) {
        char name[4096];
        snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);
        struct stat info;
        if (entries[i]->d_name[0] != '.' && stat(name, &info) == 0 && S_ISREG(info.st_mode))
            n_fed += replay_file(name);
        mem_free(entries[i]);
    }
    mem_free(entries);
    return n_fed;
}

int main(int argc, char **argv)
{
    size_t n_fed = 0;
    for (int i = 1; i < argc; i++) {
        struct stat info;
        if (stat(argv[i], &info) != 0)
            perror(argv[i]);
        else
            n_fed += S_ISDIR(info.st_mode) ? replay_folder(argv[i]) : replay_file(argv[i]);
    }
    printf("%zu inputs replayed\n", n_fed);
    return n_fed > 0 ? 0 : 1;
}
