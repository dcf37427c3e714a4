/*
 * http1_corpus.h - reads http1_corpus.txt.
 */
#ifndef ISTHMUS_TESTS_HTTP1_CORPUS_H
#define ISTHMUS_TESTS_HTTP1_CORPUS_H

#include "proxy/base/text.h"

struct corpus_row {
    struct str name;
    struct text bytes;
    unsigned n_served;
    bool is_refused, is_cut; /* with status and why */
    unsigned status;
    struct str why;
};

struct corpus {
    struct text file;
    struct corpus_row *rows;
    size_t n_rows;
};

/* Ensures that the file is well formed. */
void corpus_load(struct corpus *corpus, const char *path);
void corpus_free(struct corpus *corpus);

#endif
