#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""orders.py - each atomic operation says which order it has and why.

Not relaxed: a comment on the line above,

    /* order(NAME): KIND; pairs with KIND in FUNCTION(). */

KIND is the operation's own, or one half of acq_rel (whose halves may have a note each).  FUNCTION (or FUNCTION() and
FUNCTION()) must hold an operation of the same NAME whose order includes the second KIND.  docs/memory-ordering.md must
have one row per NAME, and in its columns `released in` and `acquired in` the functions that do so, all of them.

Relaxed: `relaxed: why` in a comment on the same line or the line above, or at the declaration of the field (or of the
function that says where it is), or at the typedef of the field's type.

The operations are those that concurrency/atomic.h names; nothing else may use <stdatomic.h>'s.
"""
import re

import tree as t

ATOMIC_H = "concurrency/atomic.h"
ORDERING = "docs/memory-ordering.md"
NOTE = re.compile(
    r"/\*\s*order\((?P<name>[\w-]+)\): (?P<kind>\w+); pairs with (?P<other>\w+) in "
    r"(?P<functions>\w+\(\)(?:(?:, | and |, and )\w+\(\))*)\.\s*\*/"
)


def includes_kind(order, kind):
    return kind == order or (order == "acq_rel" and kind in ("acquire", "release"))


def operations(tree):
    """What atomic.h names: {operation: (order, which argument is the object)}."""
    code, _ = t.split_c(tree.get(ATOMIC_H, ""))
    found = {}
    name = r"^(?:#define|static inline .*) \*?(gi_\w+_(relaxed|acquire|release|acq_rel))\("
    for match in re.finditer(name, code, re.M):
        parameters = arguments(code, match.end())
        objects = [number for number, text in enumerate(parameters) if re.search(r"gi_atomic\(|^object$", text)]
        found[match.group(1)] = (match.group(2), objects[0] if objects else 0)
    return found


def one_line(text):
    return re.sub(r"\s*\n\s*\*?\s*", " ", text)


def relaxed_names(sources):
    """Fields and variables whose declaration says `relaxed: ...`, by itself or by its type."""
    types = set()
    for code, comments in sources.values():
        lines = code.split("\n")
        for comment in comments:
            for line in (comment.first, comment.last + 1) if comment.alone else (comment.first,):
                match = line <= len(lines) and re.match(r"\s*typedef .*\b(\w+);", lines[line - 1])
                if match and "relaxed: " in comment.text:
                    types.add(match.group(1))
    # A variable or field, or a function that says where one is.
    declared = r"^\s*(?:static |inline |extern |_Alignas\([^)]*\) |_Thread_local |const )*(?:%s) "
    declared += r"(?:([\w, ]+)(?:\[.*\])?(?: =.*)?;|\*(\w+)\()"
    typed = re.compile(declared % "|".join(sorted(types) or ["(?!)"]))
    atomic = re.compile(declared % r"gi_atomic\([^)]*\)")
    names = set()
    for code, comments in sources.values():
        said = set()
        for comment in comments:
            if "relaxed: " in comment.text:
                said |= set(range(comment.first, comment.last + 2 if comment.alone else comment.last + 1))
        for number, line in enumerate(code.split("\n"), 1):
            match = typed.match(line) or (number in said and atomic.match(line))
            if match:
                names |= set(re.split(r"[, ]+", next(filter(None, match.groups())).strip()))
    return names


def arguments(code, start):
    """The texts of the arguments of a call whose `(` ends at `start`."""
    depth, found = 0, []
    for offset in range(start, len(code)):
        if depth == 0 and code[offset] in ",)":
            found.append(code[start:offset].strip())
            start = offset + 1
            if code[offset] == ")":
                break
        depth += (code[offset] in "([{") - (code[offset] in ")]}")
    return found


def object_name(argument):
    """`&gil->state` -> state; `&heap->list[i]` -> list; `&owner_of(pool)->tag` -> tag; `counter` -> counter."""
    inner = r"\[[^\[\]]*\]|\([^()]*\)"
    while re.search(inner, argument):
        argument = re.sub(inner, "", argument)
    names = re.findall(r"\w+", argument)
    return names[-1] if names else ""


def notes_above(line, comments):
    """The comments that end right above `line`, one under another."""
    by_last = {comment.last: comment for comment in comments if comment.alone}
    found = []
    while line - 1 in by_last:
        comment = by_last[line - 1]
        found.append(comment)
        line = comment.first
    return found


def rows(text):
    """[(name, {"release": functions, "acquire": functions})] of the tables whose head's first cell is `order`."""
    found, head = [], None
    for line in text.split("\n"):
        cells = [cell.strip().strip("`") for cell in line.strip("|").split("|")] if line.startswith("|") else None
        if cells is None:
            head = None
        elif cells[0].lower() == "order":
            head = cells
        elif head and set(cells[0]) != {"-"}:
            side = {title: set(re.findall(r"(\w+)\(\)", cell)) for title, cell in zip(head, cells)}
            kinds = {"release": side.get("released in", set()), "acquire": side.get("acquired in", set())}
            found.append((cells[0], kinds))
    return found


def problems(tree):
    ops = operations(tree)
    if not ops:
        return ["%s: names no operations" % ATOMIC_H]
    call = re.compile(r"\b(%s)\s*\(" % "|".join(sorted(ops)))
    foreign = re.compile(r"\b(atomic_(?!signal_fence)\w+|__atomic_\w+|__sync_\w+|memory_order_\w+|_Atomic)\b")
    sources = {path: t.split_c(text) for path, text in tree.items() if t.is_library(path) and text is not None}
    relaxed = relaxed_names(sources)
    out, sites, defined = [], [], {}
    for path, (code, comments) in sources.items():
        for function, span in t.functions(code).items():
            defined.setdefault(function, []).append((path, span))
        if path == ATOMIC_H:
            continue
        for match in foreign.finditer(code):
            out.append("%s:%d: %s is used outside %s" % (path, t.line_of(code, match.start()), match.group(), ATOMIC_H))
        used = set()
        for match in call.finditer(code):
            name, (order, position) = match.group(1), ops[match.group(1)]
            line = t.line_of(code, match.start())
            where = "%s:%d" % (path, line)
            above = notes_above(line, comments)
            if order == "relaxed":
                near = above + [comment for comment in comments if comment.first <= line <= comment.last]
                subject = object_name((arguments(code, match.end())[position:] or [""])[0])
                if subject not in relaxed and not any("relaxed: " in comment.text for comment in near):
                    out.append("%s: %s of '%s' does not say why (/* relaxed: ... */)" % (where, name, subject))
                continue
            notes = [(comment, NOTE.search(one_line(comment.text))) for comment in above]
            notes = [(comment, note) for comment, note in notes if note]
            fitting = [(comment, note) for comment, note in notes if includes_kind(order, note.group("kind"))]
            if not fitting:
                what = "calls itself %s" % notes[0][1].group("kind") if notes else "has no /* order(NAME): ... */ above"
                out.append("%s: %s %s" % (where, name, what))
            for comment, note in fitting:
                used.add(comment.first)
                sites.append((path, line, order, note))
        for comment in comments:
            if "order(" in comment.text and "pairs with" in comment.text and comment.first not in used:
                where = "%s:%d" % (path, comment.first)
                out.append("%s: an order that belongs to no operation, or is not in the form" % where)

    for path, line, _, note in sites:
        where, name, other = "%s:%d" % (path, line), note.group("name"), note.group("other")
        for function in re.findall(r"(\w+)\(\)", note.group("functions")):
            homes = defined.get(function, [])
            if not homes:
                out.append("%s: order(%s) names %s(), which is nowhere" % (where, name, function))
            elif not any(
                (site_path, site_note.group("name")) == (home, name) and first <= site_line <= last
                and includes_kind(order, other)
                for site_path, site_line, order, site_note in sites
                for home, (first, last) in homes
            ):
                out.append("%s: %s() has no %s of order(%s)" % (where, function, other, name))

    # Where each order is, by the code: {(name, kind): functions}
    held = {}
    for path, line, order, note in sites:
        inside = {name for name, homes in defined.items() for home, (a, b) in homes if home == path and a <= line <= b}
        for kind in ("acquire", "release"):
            if includes_kind(note.group("kind"), kind):
                held.setdefault((note.group("name"), kind), set()).update(inside)

    names, listed = {site[3].group("name") for site in sites}, rows(tree.get(ORDERING) or "")
    once = [name for name, _ in listed]
    out += ["%s: no row for order(%s)" % (ORDERING, name) for name in sorted(names - set(once))]
    out += ["%s: order(%s) has no site" % (ORDERING, name) for name in sorted(set(once) - names)]
    out += ["%s: two rows for order(%s)" % (ORDERING, name) for name in sorted(set(once)) if once.count(name) > 1]
    for name, kinds in listed:
        for kind, said in kinds.items():
            for function in sorted(said ^ held.get((name, kind), set())):
                fault = "does not say" if function not in said else "says, and the code does not,"
                out.append("%s: order(%s) %s that %s() has a side of it: %s" % (ORDERING, name, fault, function, kind))
    return out


if __name__ == "__main__":
    t.main(problems)
