#include "config/yaml.h"

#include <string.h>
#include <yaml.h>

#include "proxy/base/map.h"
#include "proxy/base/mem.h"

#define NODES_PENDING_MAX (YAML_NODES_MAX + (size_t)2 * YAML_DEPTH_MAX)

struct frame { /* a sequence or mapping whose end was not seen yet */
    struct yaml *node;
    size_t first_child; /* in builder.pending */
    size_t first_node;  /* value of builder.n_nodes when it began */
    unsigned height;    /* levels below it, aliases unfolded */
    struct str anchor;
};

struct anchor {
    struct str name;
    struct yaml *node;
    size_t n_nodes; /* of its tree, aliases unfolded; 0 while it is still open */
    unsigned height;
};

struct builder {
    struct arena *arena;
    struct diag *diag;
    struct str file, bytes;
    yaml_parser_t parser;
    struct frame frames[YAML_DEPTH_MAX];
    size_t depth;
    struct yaml **pending; /* children of the open frames */
    size_t n_pending, pending_cap;
    struct map anchors; /* of this document, by name */
    size_t n_nodes;
    struct yaml *root; /* of this document, once complete */
    struct yaml **docs;
    size_t n_docs, docs_cap;
    bool failed;
};

static struct place place_of(const struct builder *b, yaml_mark_t mark)
{
    return (struct place){b->file, (unsigned)mark.line + 1, (unsigned)mark.column + 1};
}

static struct place place_at(const struct builder *b, size_t offset)
{
    struct place place = {b->file, 1, 1};
    for (size_t i = 0; i < offset && i < b->bytes.len; i++) {
        unsigned char c = (unsigned char)b->bytes.ptr[i];
        if (c == '\n') {
            place.line++;
            place.column = 1;
        } else if ((c & 0xc0) != 0x80) {
            place.column++;
        }
    }
    return place;
}

/* Is there a tab at the place (or in the blanks right before it)? libyaml's own words do not say
 * so. */
static bool tab_near(const struct builder *b, struct place place)
{
    const char *ptr = b->bytes.ptr, *end = ptr + b->bytes.len;
    for (unsigned line = 1; line < place.line; line++) {
        const char *newline = ptr < end ? memchr(ptr, '\n', (size_t)(end - ptr)) : NULL;
        if (!newline)
            return false;
        ptr = newline + 1;
    }
    for (unsigned column = 1; ptr < end && *ptr != '\n' && column <= place.column;
         column++, ptr++) {
        if (*ptr == '\t')
            return true;
        if (*ptr != ' ' && *ptr != '-')
            return false;
    }
    return false;
}

static void fail_parser(struct builder *b)
{
    const yaml_parser_t *p = &b->parser;
    const char *problem = p->problem ? p->problem : "it cannot be read";
    b->failed = true;
    if (p->error == YAML_READER_ERROR) {
        bool control = strstr(problem, "control") != NULL;
        diag_error(b->diag, place_at(b, p->problem_offset), "%s (%s)",
                   control ? "the text has a character that YAML does not allow"
                           : "the text is not UTF-8",
                   problem);
        return;
    }
    struct place place = place_of(b, p->problem_mark);
    if (tab_near(b, place))
        diag_error(b->diag, place, "a tab stands where the indentation is; YAML wants spaces");
    else if (p->context)
        diag_error(b->diag, place, "not valid YAML: %s %s", problem, p->context);
    else
        diag_error(b->diag, place, "not valid YAML: %s", problem);
}

static bool fail(struct builder *b, struct place place, const char *sentence)
{
    diag_error(b->diag, place, "%s", sentence);
    b->failed = true;
    return false;
}

static bool count_nodes(struct builder *b, struct place place, size_t n)
{
    b->n_nodes += n;
    if (b->n_nodes > YAML_NODES_MAX)
        return fail(b, place, "the file has too many nodes (1000000 at most, aliases unfolded)");
    return true;
}

static void push(struct builder *b, struct yaml *node)
{
    if (b->n_pending == b->pending_cap) {
        ensure(b->pending_cap < NODES_PENDING_MAX);
        b->pending_cap = b->pending_cap ? 2 * b->pending_cap : 256;
        b->pending = mem_realloc(b->pending, b->pending_cap * sizeof(*b->pending));
    }
    b->pending[b->n_pending++] = node;
}

static void set_anchor(struct builder *b, struct str name, struct yaml *node, size_t n_nodes,
                       unsigned height)
{
    if (str_is_empty(name))
        return;
    struct anchor *anchor = map_find(&b->anchors, name);
    if (!anchor) {
        anchor = arena_new(b->arena, struct anchor);
        anchor->name = name;
        map_put(&b->anchors, name, anchor);
    }
    anchor->node = node;
    anchor->n_nodes = n_nodes;
    anchor->height = height;
}

/* A finished node goes to the open frame above it, or is the document. */
static void deliver(struct builder *b, struct yaml *node, unsigned height)
{
    if (b->depth == 0) {
        b->root = node;
        return;
    }
    struct frame *frame = &b->frames[b->depth - 1];
    if (frame->height < height + 1)
        frame->height = height + 1;
    push(b, node);
}

static struct yaml *node_new(struct builder *b, enum yaml_kind kind, yaml_mark_t mark)
{
    struct yaml *node = arena_new(b->arena, struct yaml);
    node->kind = kind;
    node->place = place_of(b, mark);
    return node;
}

static struct str event_text(struct builder *b, const yaml_char_t *text)
{
    return text ? arena_str(b->arena, str_from((const char *)text)) : (struct str){0};
}

#define TAG_CORE "tag:yaml.org,2002:"

/* The tags of YAML's own types say nothing that the readers do not know; others would be lost
 * silently. */
static bool check_tag(struct builder *b, const yaml_char_t *tag, yaml_mark_t mark)
{
    struct str text = str_from((const char *)tag);
    if (str_is_empty(text) || str_eq(text, STR("!")) ||
        (str_starts_with(text, STR(TAG_CORE)) && !str_eq(text, STR(TAG_CORE "binary"))))
        return true;
    diag_error(b->diag, place_of(b, mark), "the tag \"%.*s\" is not supported", STR_ARG(text));
    b->failed = true;
    return false;
}

static bool is_null_text(struct str text)
{
    return str_is_empty(text) || str_eq(text, STR("~")) || str_eq(text, STR("null")) ||
           str_eq(text, STR("Null")) || str_eq(text, STR("NULL"));
}

static void on_scalar(struct builder *b, const yaml_event_t *event)
{
    struct yaml *node = node_new(b, YAML_TEXT, event->start_mark);
    struct str tag = str_from((const char *)event->data.scalar.tag);
    if (!count_nodes(b, node->place, 1) || !check_tag(b, event->data.scalar.tag, event->start_mark))
        return;
    node->text = arena_str(b->arena, str_of(event->data.scalar.value, event->data.scalar.length));
    node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE ||
                   str_eq(tag, STR(TAG_CORE "str")) || str_eq(tag, STR("!"));
    if (!node->quoted && is_null_text(node->text))
        node->kind = YAML_NULL;
    set_anchor(b, event_text(b, event->data.scalar.anchor), node, 1, 0);
    deliver(b, node, 0);
}

static void on_alias(struct builder *b, const yaml_event_t *event)
{
    struct place place = place_of(b, event->start_mark);
    struct str name = str_from((const char *)event->data.alias.anchor);
    const struct anchor *anchor = map_find(&b->anchors, name);
    if (!anchor) {
        diag_error(b->diag, place, "the alias \"*%.*s\" has no anchor before it", STR_ARG(name));
        b->failed = true;
    } else if (anchor->n_nodes == 0) {
        diag_error(b->diag, place, "the alias \"*%.*s\" stands inside what it refers to",
                   STR_ARG(name));
        b->failed = true;
    } else if (b->depth + anchor->height > YAML_DEPTH_MAX) {
        (void)fail(b, place, "nested too deeply (64 levels at most)");
    } else if (count_nodes(b, place, anchor->n_nodes)) {
        deliver(b, anchor->node, anchor->height);
    }
}

static void on_start(struct builder *b, enum yaml_kind kind, const yaml_event_t *event,
                     const yaml_char_t *anchor, const yaml_char_t *tag)
{
    struct yaml *node = node_new(b, kind, event->start_mark);
    if (b->depth == YAML_DEPTH_MAX) {
        (void)fail(b, node->place, "nested too deeply (64 levels at most)");
        return;
    }
    if (!count_nodes(b, node->place, 1) || !check_tag(b, tag, event->start_mark))
        return;
    struct str name = event_text(b, anchor);
    set_anchor(b, name, node, 0, 0);
    b->frames[b->depth++] = (struct frame){node, b->n_pending, b->n_nodes - 1, 1, name};
}

/* Every key is there once: a second one would silently replace what the first one says. */
static bool check_keys(struct builder *b, const struct yaml *node)
{
    struct map seen = {0};
    bool ok = true;
    for (size_t i = 0; i < node->len && ok; i++) {
        struct yaml *key = node->keys[i];
        if (key->kind == YAML_SEQUENCE || key->kind == YAML_MAPPING) {
            ok = fail(b, key->place, "a key must be a plain word");
            break;
        }
        const struct yaml *first = map_put(&seen, key->text, key);
        if (first) {
            diag_error(b->diag, key->place, "the key \"%.*s\" is there twice, first in line %u",
                       STR_ARG(key->text), first->place.line);
            b->failed = true;
            ok = false;
        } else if (!key->quoted && str_eq(key->text, STR("<<"))) {
            ok = fail(b, key->place, "merge keys (<<) are not supported; write the keys out");
        }
    }
    map_fini(&seen);
    return ok;
}

static void on_end(struct builder *b)
{
    ensure(b->depth > 0);
    struct frame *frame = &b->frames[--b->depth];
    struct yaml *node = frame->node;
    size_t n_children = b->n_pending - frame->first_child;
    size_t step = node->kind == YAML_MAPPING ? 2 : 1;
    node->len = n_children / step;
    node->items = arena_new_array(b->arena, struct yaml *, node->len);
    if (node->kind == YAML_MAPPING)
        node->keys = arena_new_array(b->arena, struct yaml *, node->len);
    for (size_t i = 0; i < node->len; i++) {
        size_t child = frame->first_child + i * step;
        if (node->keys)
            node->keys[i] = b->pending[child];
        node->items[i] = b->pending[child + step - 1];
    }
    b->n_pending = frame->first_child;
    if (node->kind == YAML_MAPPING && !check_keys(b, node))
        return;
    set_anchor(b, frame->anchor, node, b->n_nodes - frame->first_node, frame->height);
    deliver(b, node, frame->height);
}

static void on_document_end(struct builder *b)
{
    struct yaml *root = b->root;
    b->root = NULL;
    map_fini(&b->anchors); /* anchors end with their document */
    b->anchors = (struct map){0};
    if (!root || root->kind == YAML_NULL)
        return;
    if (b->n_docs == b->docs_cap) {
        b->docs_cap = b->docs_cap ? 2 * b->docs_cap : 8;
        b->docs = mem_realloc(b->docs, b->docs_cap * sizeof(struct yaml *));
    }
    b->docs[b->n_docs++] = root;
}

static void on_event(struct builder *b, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT: on_scalar(b, event); break;
    case YAML_ALIAS_EVENT: on_alias(b, event); break;
    case YAML_SEQUENCE_START_EVENT:
        on_start(b, YAML_SEQUENCE, event, event->data.sequence_start.anchor,
                 event->data.sequence_start.tag);
        break;
    case YAML_MAPPING_START_EVENT:
        on_start(b, YAML_MAPPING, event, event->data.mapping_start.anchor,
                 event->data.mapping_start.tag);
        break;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: on_end(b); break;
    case YAML_DOCUMENT_END_EVENT: on_document_end(b); break;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_START_EVENT: break;
    }
}

static void run(struct builder *b)
{
    bool more = true;
    while (more && !b->failed) {
        yaml_event_t event;
        if (!yaml_parser_parse(&b->parser, &event)) {
            fail_parser(b);
            return;
        }
        on_event(b, &event);
        more = event.type != YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
}

size_t yaml_parse(struct arena *arena, struct str file, struct str bytes, struct yaml ***out_docs,
                  struct diag *diag)
{
    struct builder *b = mem_new(struct builder);
    b->arena = arena;
    b->diag = diag;
    b->file = arena_str(arena, file);
    b->bytes = bytes;
    *out_docs = NULL;
    if (bytes.len > YAML_BYTES_MAX) {
        (void)fail(b, (struct place){b->file, 0, 0}, "the file is too large (64 MiB at most)");
    } else {
        ensure(yaml_parser_initialize(&b->parser));
        yaml_parser_set_input_string(
            &b->parser, (const unsigned char *)(bytes.ptr ? bytes.ptr : ""), bytes.len);
        run(b);
        yaml_parser_delete(&b->parser);
    }
    size_t n_docs = b->n_docs;
    if (n_docs > 0) {
        *out_docs = arena_new_array(arena, struct yaml *, n_docs);
        memcpy(*out_docs, b->docs, n_docs * sizeof(struct yaml *));
    }
    map_fini(&b->anchors);
    mem_free(b->pending);
    mem_free(b->docs);
    mem_free(b);
    return n_docs;
}
