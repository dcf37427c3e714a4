#include "proxy/base/diag.h"

#include <stdarg.h>

static struct diag_entry *slot_for(struct diag *diag, enum diag_severity severity)
{
    if (!diag->entries)
        diag->entries = arena_new_array(&diag->arena, struct diag_entry, DIAG_MAX);
    if (diag->len < DIAG_MAX)
        return &diag->entries[diag->len++];
    diag->dropped++;
    /* Warnings must not crowd out the error that explains why the input was refused. */
    for (size_t i = DIAG_MAX; severity == DIAG_ERROR && i > 0; i--)
        if (diag->entries[i - 1].severity == DIAG_WARNING)
            return &diag->entries[i - 1];
    return NULL;
}

__attribute__((format(printf, 4, 0))) static void add(struct diag *diag,
                                                      enum diag_severity severity,
                                                      struct place place, const char *format,
                                                      va_list args)
{
    struct diag_entry *entry = slot_for(diag, severity);
    struct text sentence = {0};

    if (severity == DIAG_ERROR)
        diag->n_errors++;
    if (!entry)
        return;
    text_addv(&sentence, format, args);
    place.file = arena_str(&diag->arena, place.file);
    *entry = (struct diag_entry){
        .severity = severity,
        .place = place,
        .sentence = arena_str(&diag->arena, text_str(&sentence)),
    };
    text_fini(&sentence);
}

void diag_error(struct diag *diag, struct place place, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    add(diag, DIAG_ERROR, place, format, args);
    va_end(args);
}

void diag_warn(struct diag *diag, struct place place, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    add(diag, DIAG_WARNING, place, format, args);
    va_end(args);
}

/* Quoted input may hold line breaks or what terminals obey; one entry stays one line. */
static void print_place(const struct place *place, struct text *out)
{
    if (str_is_empty(place->file) && place->line == 0)
        return;
    text_add_printable(out, str_is_empty(place->file) ? STR("line") : place->file);
    text_addc(out, ':');
    if (place->line)
        text_addf(out, "%u:", place->line);
    if (place->line && place->column)
        text_addf(out, "%u:", place->column);
    text_addc(out, ' ');
}

void diag_print(const struct diag *diag, struct text *out)
{
    for (size_t i = 0; i < diag->len; i++) {
        const struct diag_entry *entry = &diag->entries[i];
        print_place(&entry->place, out);
        text_add(out, entry->severity == DIAG_ERROR ? STR("error: ") : STR("warning: "));
        text_add_printable(out, entry->sentence);
        text_addc(out, '\n');
    }
    if (diag->dropped)
        text_addf(out, "%zu more were found\n", diag->dropped);
}

void diag_fini(struct diag *diag)
{
    arena_fini(&diag->arena);
    *diag = (struct diag){0};
}
