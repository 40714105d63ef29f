#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""layers.py - includes go to lower layers, by the table in lib/README.md.

Besides: no two modules include each other, even by way of others; no .c is included; an include of ours is written from
the root of the tree; one header has <stdatomic.h>, one module <urcu/...>; a file head that names a layer names its own.
"""
import re

import tree as t

TABLE = "lib/README.md"
ROW = re.compile(r"^\|\s*L(\d+)\s*\|([^|]*)\|")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+([<"])([^>"]+)[>"]', re.M)
PUBLIC = "lib/include/"
ONLY = {"stdatomic.h": "concurrency/atomic", "urcu": "concurrency/rcu"}  # header, or its folder: the one module


def module(path):
    return path.rsplit(".", 1)[0]


def table(text):
    """{folder/ or module: layer}"""
    return {place: int(row.group(1)) for row in map(ROW.match, text.split("\n")) if row
            for place in re.findall(r"`([^`]+)`", row.group(2))}


def layer(places, path):
    """The layer of the longest entry that covers `path`, or None."""
    fitting = [place for place in places if module(path) == place or (place.endswith("/") and path.startswith(place))]
    return places[max(fitting, key=len)] if fitting else None


def cycles(edges):
    """Each cycle of the module graph once, as a list of modules."""
    found, done = [], set()

    def visit(node, path):
        if node in path:
            found.append(path[path.index(node) :] + [node])
        elif node not in done:
            for other in sorted(edges.get(node, ())):
                visit(other, path + [node])
            done.add(node)

    for node in sorted(edges):
        visit(node, [])
    return found


def problems(tree):
    places = table(tree.get(TABLE) or "")
    if not places:
        return ["%s: has no table of layers" % TABLE]
    out, edges = [], {}
    for place in places:
        if not any(path.startswith(place) if place.endswith("/") else module(path) == place for path in tree):
            out.append("%s: %s does not exist" % (TABLE, place))
    for path, text in tree.items():
        if not t.is_library(path):
            continue
        code, _ = t.split_c(text, keep_strings=True)
        own = layer(places, path)
        if own is None and not path.startswith(PUBLIC):
            out.append("%s: has no layer in %s" % (path, TABLE))
        head = re.search(r"\[L(\d+)\]", text[:400])
        if own is not None and head and int(head.group(1)) != own:
            out.append("%s: its head says L%s, %s says L%d" % (path, head.group(1), TABLE, own))
        for match in INCLUDE.finditer(code):
            where, name = "%s:%d" % (path, t.line_of(code, match.start())), match.group(2)
            only = ONLY.get(name) or ONLY.get(name.split("/")[0])
            if only and module(path) != only:
                out.append("%s: only %s includes <%s>" % (where, only, name))
            if match.group(1) == "<":
                if name.startswith("gilloc/") and path.startswith("concurrency/"):
                    out.append("%s: concurrency/ knows nothing of the public headers" % where)
                elif name.startswith("gilloc/") and PUBLIC + name not in tree:
                    out.append("%s: <%s> does not exist" % (where, name))
                continue
            if name not in tree:
                out.append('%s: "%s" does not exist (write it from the root of the tree)' % (where, name))
                continue
            if not name.endswith(".h"):
                out.append('%s: "%s" is not a header' % (where, name))
            other = layer(places, name)
            if path.startswith(PUBLIC) or other is None:
                out.append('%s: a public header includes "%s"' % (where, name) if path.startswith(PUBLIC)
                           else '%s: "%s" has no layer' % (where, name))
            elif own is not None and other > own:
                out.append('%s: L%d includes "%s" of L%d' % (where, own, name, other))
            if module(path) != module(name):
                edges.setdefault(module(path), set()).add(module(name))
    return out + ["%s: modules include each other" % " -> ".join(cycle) for cycle in cycles(edges)]


if __name__ == "__main__":
    t.main(problems)
