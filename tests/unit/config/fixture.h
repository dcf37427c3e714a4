/* fixture.h - files for a test to read, and what a diag says, as text. */
#ifndef TESTS_UNIT_CONFIG_FIXTURE_H
#define TESTS_UNIT_CONFIG_FIXTURE_H

#include "config/manifests.h"
#include "tests/kit/temp_dir.h"

/* A new folder; folder_end() removes it with all that is in it. */
struct folder {
    struct temp_dir dir;
    struct arena arena; /* of the paths */
};

void folder_begin(struct folder *folder);
void folder_end(struct folder *folder);
/* Writes a file, with the folders above it. Returns its path, good until folder_end(). */
const char *folder_write(struct folder *folder, const char *name, const char *text);

/* Everything the diag says; good until the next call. */
const char *said(const struct diag *diag);
/* Fails the test unless the diag says the sentence somewhere. row names the table row. */
void expect_said(const struct diag *diag, const char *row, const char *sentence);

/* One manifest file with this text, read as a folder. */
struct manifests *read_text(const char *text, struct diag *diag);
/* Fails the test unless reading it is refused with one error, this one. */
void expect_one_error(const char *row, const char *text, const char *sentence);

/* A diag for each test of a suite with .init = begin and .fini = end. */
#define DIAG_FIXTURE                                                                               \
    static struct diag diag;                                                                       \
                                                                                                   \
    static void begin(void)                                                                        \
    {                                                                                              \
        diag = (struct diag){0};                                                                   \
    }                                                                                              \
                                                                                                   \
    static void end(void)                                                                          \
    {                                                                                              \
        diag_fini(&diag);                                                                          \
    }

#endif
