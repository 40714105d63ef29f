#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""orders_test.py - the faults that orders.py must find."""
import faults
import orders
import tree as t

ATOMIC_H = """
#define gi_load_relaxed(object) atomic_load_explicit((object), memory_order_relaxed)
#define gi_load_acquire(object) atomic_load_explicit((object), memory_order_acquire)
#define gi_store_relaxed(object, value) atomic_store_explicit((object), (value), memory_order_relaxed)
#define gi_store_release(object, value) atomic_store_explicit((object), (value), memory_order_release)
#define gi_exchange_acq_rel(object, value) atomic_exchange_explicit((object), (value), memory_order_acq_rel)
/* relaxed: nothing is published by a statistic. */
typedef gi_atomic(uint64_t) gi_counter;
static inline bool gi_below_relaxed(uint64_t value, const gi_atomic(uint64_t) *limit) { return value < 1; }
"""
QUEUE_C = """
struct gi_queue {
    gi_atomic(void *) head;
    gi_atomic(int) hint; /* relaxed: a hint */
    gi_counter ever;
};
static __attribute__((noinline)) void gi_put(struct gi_queue *queue, void *item) {
    (void)gi_load_relaxed(&queue->hint);
    (void)gi_load_relaxed(&queue->ever);
    (void)gi_below_relaxed(queue->length, &queue->hint);
    (void)gi_load_relaxed(&queue->head); /* relaxed: only compared */
    /* order(hand-over): release; pairs with acquire in gi_take() and
       gi_swap(). */
    gi_store_release(&queue->head, item);
}
void *gi_take(struct gi_queue *queue) {
    /* order(hand-over): acquire; pairs with release in gi_put(). */
    return gi_load_acquire(&queue->head);
}
void *gi_swap(struct gi_queue *queue) {
    /* order(hand-over): acq_rel; pairs with release in gi_put(). */
    return gi_exchange_acq_rel(&queue->head, 0);
}
"""
ROWS = """
| order | what is published | released in | acquired in |
|---|---|---|---|
| `hand-over` | an item | `gi_put()`, `gi_swap()` | `gi_take()`, `gi_swap()` |
"""
TAKE = "    /* order(hand-over): acquire; pairs with release in gi_put(). */\n"
GOOD = {"concurrency/atomic.h": ATOMIC_H, "lib/queue.c": QUEUE_C, "docs/memory-ordering.md": ROWS}
C, DOC = "lib/queue.c", "docs/memory-ordering.md"
FAULTS = [
    ("no comment", C, TAKE, "", "gi_load_acquire has no /* order"),
    ("a line between", C, TAKE, TAKE + "\n", "gi_load_acquire has no /* order"),
    ("another order in the comment", C, TAKE, TAKE.replace("acquire", "release", 1), "calls itself release"),
    ("a partner that is nowhere", C, TAKE, TAKE.replace("gi_put", "gi_gone"), "gi_gone(), which is nowhere"),
    ("a partner without that order", C, TAKE, TAKE.replace("gi_put", "gi_take"), "gi_take() has no release"),
    (
        "a second partner without it", C, "acquire in gi_take() and", "acquire in gi_take() and gi_put() and",
        "gi_put() has no acquire",
    ),
    (
        "another name on one side", C, TAKE, TAKE.replace("hand-over", "other"),
        "gi_put() has no release of order(other)",
    ),
    ("a name without a row", DOC, "`hand-over`", "`other`", "no row for order(hand-over)"),
    ("a row without a site", DOC, "`gi_swap()` |\n", "`gi_swap()` |\n| `gone` | x | | |\n", "order(gone) has no site"),
    ("two rows", DOC, "`gi_swap()` |\n", "`gi_swap()` |\n| hand-over | x | | |\n", "two rows for order(hand-over)"),
    ("a side that the row does not name", DOC, "`gi_take()`, ", "", "does not say that gi_take()"),
    ("a side that is not there", DOC, "`gi_put()`, ", "`gi_put()`, `gi_take()`, ", "the code does not, that gi_take()"),
    ("no document", DOC, None, None, "no row for order(hand-over)"),
    ("relaxed, no reason", C, " /* relaxed: only compared */", "", "gi_load_relaxed of 'head' does not say why"),
    ("relaxed, another argument", C, "length, &queue->hint", "hint, &queue->head", "gi_below_relaxed of 'head'"),
    ("relaxed field, no reason", C, " /* relaxed: a hint */", "", "gi_load_relaxed of 'hint' does not say why"),
    (
        "another type, no reason", C, "gi_counter ever", "gi_atomic(int) ever",
        "gi_load_relaxed of 'ever' does not say why",
    ),
    ("an order of nothing", C, "    gi_store_release(&queue->head, item);\n", "", "belongs to no operation"),
    (
        "an operation of the compiler", C, "return gi_load_acquire(", "return __atomic_load_n(",
        "__atomic_load_n is used outside",
    ),
    ("no atomic.h", "concurrency/atomic.h", None, None, "names no operations"),
]


def each_note_is_needed(tree):
    """Takes each note of the real tree away, one at a time; those whose loss goes unnoticed."""
    known, lost = set(orders.problems(tree)), []
    for path, text in tree.items():
        if t.is_library(path):
            for note in orders.NOTE.finditer(text):
                without = dict(tree)
                without[path] = text[: note.start()] + "/* */" + text[note.end() :]
                if set(orders.problems(without)) <= known:
                    lost.append("%s:%d: this note can go" % (path, t.line_of(text, note.start())))
    return lost


if __name__ == "__main__":
    if t.report(each_note_is_needed(t.load())):
        raise SystemExit("the notes above can go, and nobody would notice")
    faults.run(orders.problems, GOOD, FAULTS)
