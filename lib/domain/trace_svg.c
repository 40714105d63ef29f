/* SPDX-License-Identifier: MIT */
/*
 * trace_svg.c [L5] - a snapshot as a flame graph: one SVG, no script; what a box is says the browser under the pointer.
 *
 *   The callers are below, as wide as the bytes that were allocated under them.  Stacks that begin alike share boxes:
 *   the tree's children are a list by name, which is short where programs are.
 *   Owner   the caller.  No locks of its own.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/domain/trace_names.h"

/* --- constants -------------------------------------------------------------------------------- */

#define WIDTH 1200.0
#define MARGIN 10.0
#define ROW 17.0
#define HEAD 34.0
#define CHARACTER 6.6 /* of the font, about */
/* Narrower boxes are left out. */
#define NARROWEST 0.3

typedef struct node {
    const char *name;
    int64_t bytes, blocks;
    struct node *children, *next;
} node;

/* --- the tree --------------------------------------------------------------------------------- */

static node *child_of(node *parent, const char *name) {
    node **place = &parent->children;
    while (*place != NULL && strcmp((*place)->name, name) < 0) {
        place = &(*place)->next;
    }
    if (*place == NULL || strcmp((*place)->name, name) != 0) {
        node *made = calloc(1, sizeof(*made));
        if (made == NULL) {
            return NULL;
        }
        made->name = name;
        made->next = *place;
        *place = made;
    }
    return *place;
}

static bool add(node *root, const gi_names *names, const gi_snapshot_entry *entry, bool ever) {
    int64_t bytes = gi_snapshot_bytes(entry, ever);
    node *at = root;
    for (uint64_t i = entry->site->count; bytes > 0 && at != NULL; i--) {
        at->bytes += bytes;
        at->blocks += ever ? entry->blocks_ever : entry->blocks;
        if (i == 0) {
            break;
        }
        at = child_of(at, gi_names_find(names, entry->site->frames[i - 1])->function);
    }
    return at != NULL;
}

static void free_children(node *parent) {
    while (parent->children != NULL) {
        node *first = parent->children;
        parent->children = first->next;
        free_children(first);
        free(first);
    }
}

static unsigned height_of(const node *parent, double scale) {
    unsigned most = 0;
    for (const node *child = parent->children; child != NULL; child = child->next) {
        unsigned height = (double)child->bytes * scale >= NARROWEST ? height_of(child, scale) : 0;
        most = height > most ? height : most;
    }
    return most + 1;
}

/* --- boxes ------------------------------------------------------------------------------------ */

/* At most `most` characters, as text of XML. */
static void write_text(FILE *f, const char *text, size_t most) {
    for (size_t i = 0; text[i] != '\0' && i < most; i++) {
        switch (text[i]) {
            case '&':
                fputs("&amp;", f);
                break;
            case '<':
                fputs("&lt;", f);
                break;
            case '>':
                fputs("&gt;", f);
                break;
            default:
                /* Bytes of other encodings than ASCII may be cut, or be none. */
                fputc((unsigned char)text[i] < 0x80 ? text[i] : '?', f);
        }
    }
}

/* A warm colour that a name always has. */
static void colour_of(const char *name, unsigned *red, unsigned *green, unsigned *blue) {
    uint32_t hash = 2166136261u;
    for (; *name != '\0'; name++) {
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    }
    *red = 205 + hash % 50;
    *green = 90 + (hash >> 8) % 130;
    *blue = (hash >> 16) % 60;
}

static void write_box(FILE *f, const node *box, double x, double y, double scale, int64_t all) {
    double width = (double)box->bytes * scale;
    if (width < NARROWEST) {
        return;
    }
    unsigned red, green, blue;
    colour_of(box->name, &red, &green, &blue);
    fputs("<g><title>", f);
    write_text(f, box->name, SIZE_MAX);
    fprintf(f, ": %" PRId64 " bytes in %" PRId64 " blocks, %.2f %%</title>", box->bytes, box->blocks,
            100 * (double)box->bytes / (double)all);
    fprintf(f, "<rect x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\" fill=\"rgb(%u,%u,%u)\" rx=\"1\"/>", x, y,
            width, ROW - 1, red, green, blue);
    size_t characters = (size_t)((width - 4) / CHARACTER * (width > 4));
    if (characters >= 3) {
        fprintf(f, "<text x=\"%.2f\" y=\"%.1f\">", x + 2, y + ROW - 5);
        bool fits = strlen(box->name) <= characters;
        write_text(f, box->name, fits ? characters : characters - 2);
        fputs(fits ? "</text>" : "..</text>", f);
    }
    fputs("</g>\n", f);
    for (const node *child = box->children; child != NULL; child = child->next) {
        write_box(f, child, x, y - ROW, scale, all);
        x += (double)child->bytes * scale;
    }
}

static void write_tree(FILE *f, const gilloc_snapshot *snapshot, const node *root, bool ever) {
    double scale = root->bytes > 0 ? (WIDTH - 2 * MARGIN) / (double)root->bytes : 0;
    double height = HEAD + ROW * height_of(root, scale) + MARGIN;
    fprintf(f,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" "
            "font-family=\"monospace\" font-size=\"11\">\n",
            WIDTH, height, WIDTH, height);
    fprintf(f, "<rect width=\"100%%\" height=\"100%%\" fill=\"#fffdf7\"/>\n");
    fprintf(f, "<text x=\"%.0f\" y=\"20\" font-size=\"14\">%" PRId64 " bytes in %" PRId64 " blocks %s%s</text>\n",
            MARGIN, root->bytes, root->blocks, ever ? "allocated" : "alive",
            snapshot->mean != 0 ? ", estimated from samples" : "");
    if (root->bytes > 0) {
        write_box(f, root, MARGIN, height - MARGIN - ROW, scale, root->bytes);
    }
    fputs("</svg>\n", f);
}

int gi_snapshot_write_svg(const gilloc_snapshot *snapshot, FILE *f, bool ever) {
    gi_names names;
    node root = {.name = "all"};
    if (!gi_names_init(&names, snapshot)) {
        return ENOMEM;
    }
    bool complete = true;
    for (size_t i = 0; i < snapshot->count && complete; i++) {
        complete = add(&root, &names, &snapshot->entries[i], ever);
    }
    if (complete) {
        write_tree(f, snapshot, &root, ever);
    }
    free_children(&root);
    gi_names_fini(&names);
    return complete ? 0 : ENOMEM;
}
