#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""api_test.py - docs/api.md has all that is public, and nothing that is not.

Functions, macros, types and constants of the headers; variables of the environment; fields of gilloc_stats; the message
of each fatal error; the invariants that gilloc_check() names.  Faults are then seeded in copies; each must be found.
"""
import re
import unittest

from documents import ROOT, tables

CALLERS = {"any", "attached", "any, detached", "as the domain's"}
CODE = re.compile(r"`([^`]+)`")
STRING = re.compile(r'"((?:\\.|[^"\\\n])*)"')
FATAL = re.compile(r'\bgi_fatal(?:_input)?\(\s*((?:"[^"]*"|\w+)),\s*((?:"(?:\\.|[^"\\\n])*"\s*)+)')
OPTION = re.compile(r"\[GI_OPTION_\w+\] = \{(.*?)\},\n", re.S)
BROKEN = re.compile(r'\bgi_report_broken\("(\w+)"')


def load():
    paths = [path for folder in ("lib", "concurrency") for path in sorted((ROOT / folder).rglob("*.[ch]"))]
    tree = {path.relative_to(ROOT).as_posix(): path.read_text() for path in paths}
    tree["docs/api.md"] = (ROOT / "docs/api.md").read_text()
    return tree


def without_comments(text):
    return re.sub(r"/\*.*?\*/", "", text, flags=re.S)


def headers(tree):
    return "\n".join(without_comments(tree[path]) for path in tree if path.startswith("lib/include/"))


def functions(code):
    return set(re.findall(r"^GILLOC_API\s[^;]*?(\w+)\(", code, re.M))


def stats_fields(code):
    body = re.search(r"typedef struct \{([^}]*)\} gilloc_stats;", code).group(1)
    return re.findall(r"(\w+)(?:\[\w+\])?;", body)


def other_names(code):
    """Macros (but for include guards), types, constants, fields of the other structs, members included by hand."""
    macros = set(re.findall(r"^#define (\w+)", code, re.M)) - set(re.findall(r"^#ifndef (\w+_H)$", code, re.M))
    types = set(re.findall(r"^typedef [^{};]*?(\w+);|^\} (\w+);", code, re.M))
    enums = re.findall(r"typedef enum \{([^}]*)\}", code)
    constants = {name for body in enums for name in re.findall(r"(\w+) =", body)}
    fields = set()
    for body, name in re.findall(r"typedef struct \{([^}]*)\} (\w+);", code):
        if name != "gilloc_stats":
            fields |= {a or b for a, b in re.findall(r"(\w+);|\(\*(\w+)\)\(", body)}
    return macros | {a or b for a, b in types} | constants | fields


def spoken(pattern):
    """A printf format as a pattern of what it prints."""
    text = "".join(STRING.findall(pattern)).replace('\\"', '"')
    parts = re.split(r"(%[.\d]*(?:z|l|ll)?\w)", text)
    return "".join(".+" if part.startswith("%") else re.escape(part) for part in parts)


def options(tree):
    """{variable: [values, text]} of the table of the environment."""
    found = {}
    for row in OPTION.findall(tree["lib/api/options.c"]):
        strings = [("".join(STRING.findall(cell))) for cell in re.findall(r'(?:"(?:\\.|[^"\\])*"\s*)+', row)]
        found[strings[0]] = strings[-2:]
    return found


def first_cells(tree, *columns):
    """{name in backticks in a first cell: its row} over the tables whose header begins with `columns`."""
    found = {}
    for _, rows in tables(tree["docs/api.md"]):
        if rows[0][: len(columns)] == list(columns):
            for row in rows[2:]:
                for name in CODE.findall(row[0]):
                    found[name.partition("(")[0]] = row
    return found


def problems(tree):
    out, doc, code = [], tree["docs/api.md"], headers(tree)

    def compare(what, described, there):
        out.extend("%s %s is not described" % (what, name) for name in sorted(there - described))
        out.extend("%s %s is described and is not there" % (what, name) for name in sorted(described - there))

    described = first_cells(tree, "function", "caller")
    compare("the function", set(described), functions(code))
    for name, row in described.items():
        if row[1] not in CALLERS:
            out.append("who may call %s: %r" % (name, row[1]))

    plain = re.sub(r"^```.*?^```$", "", doc, flags=re.M | re.S)
    spans = set(re.findall(r"\w+", " ".join(CODE.findall(plain))))
    out.extend("the name %s is not described" % name for name in sorted(other_names(code) - spans))

    compare("the field", set(first_cells(tree, "field of `gilloc_stats`")), set(stats_fields(code)))

    sources = {path: without_comments(text) for path, text in tree.items() if path != "docs/api.md"}
    out.extend("%s: the variable %s is read past the table" % (path, name)
               for path, text in sources.items() for name in re.findall(r'getenv\("(\w+)"\)', text))
    there, described = options(tree), first_cells(tree, "variable")
    compare("the variable", set(described), set(there))
    for name in set(there) & set(described):
        if [CODE.sub(r"\1", cell) for cell in described[name][1:3]] != there[name]:
            out.append("the variable %s is described otherwise than the table does: %s" % (name, there[name]))

    messages = {CODE.sub(r"\1", row[1]): row for h, rows in tables(doc) if h == "Fatal errors" for row in rows[2:]}
    said = set()
    for path, text in sources.items():
        for function, pattern in FATAL.findall(text):
            if spoken(pattern) == ".+":
                continue  # an assertion: its message is its expression
            found = {message for message in messages if re.fullmatch(spoken(pattern), message)}
            function = function.strip('"')
            # A literal name must be in the row; a variable one is for the row to say in words.
            if function not in ("function", "variable"):
                found = {message for message in found if function in messages[message][0]}
            if not found:
                out.append("%s: the fatal error of %s is not described: %s" % (path, function, pattern.strip()))
            said |= found
    for message in set(messages) - said:
        if not message.startswith("an expression"):  # an assertion's
            out.append("the fatal error is described and is not there: %s" % message)

    invariants = {name for text in sources.values() for name in BROKEN.findall(text)}
    rows = next((rows for heading, rows in tables(doc) if heading == "gilloc_check"), [])
    compare("the invariant", {name for row in rows[2:] for name in row[0].split(", ")}, invariants)
    return out


FAULTS = [  # path, old, new, what must be said
    ("lib/include/gilloc/pymem.h", "void PyMem_Free(", "void PyMem_Gone(", "the function PyMem_Gone is not described"),
    ("lib/include/gilloc/pymem.h", "void PyMem_Free(", "void PyMem_Gone(", "PyMem_Free is described and is not there"),
    ("lib/include/gilloc/pymem.h", "#define PyMem_Del ", "#define PyMem_Gone ", "the name PyMem_Gone is not"),
    ("lib/include/gilloc/pystate.h", "PyGILState_LOCKED =", "PyGILState_GONE =", "the name PyGILState_GONE is not"),
    ("lib/include/gilloc/gilloc.h", "} gilloc_lock;", "} gilloc_gone;", "the name gilloc_gone is not described"),
    ("lib/include/gilloc/gilloc.h", "(*held)(", "(*gone)(", "the name gone is not described"),
    ("lib/include/gilloc/gilloc.h", "uint64_t pools_free;", "uint64_t gone;", "the field gone is not described"),
    ("lib/include/gilloc/gilloc.h", "uint64_t pools_free;", "uint64_t gone;", "field pools_free is described and"),
    ("lib/api/options.c", '{"GILLOC_RESERVE"', '{"GILLOC_GONE"', "the variable GILLOC_GONE is not"),
    ("lib/api/options.c", '"as gilloc_set_retire_limit()"', '"gone"', "GILLOC_RETIRE_LIMIT is described otherwise"),
    ("lib/api/runtime.c", "gi_options_read();", 'getenv("GILLOC_GONE");', "GILLOC_GONE is read past the table"),
    ("lib/api/gilloc.c", '"no such domain"', '"gone"', 'is not described: "gone"'),
    ("lib/api/gilloc.c", '"no such domain"', '"gone"', "described and is not there: no such domain"),
    ("lib/api/pystate.c", '"%p is no interpreter"', '"%p is gone"', 'is not described: "%p is gone"'),
    ("lib/api/runtime.c", 'gi_fatal("first use"', 'gi_fatal("last use"', "the fatal error of last use is not"),
    ("lib/api/stats.c", 'gi_report_broken("T1"', 'gi_report_broken("T3"', "the invariant T3 is not described"),
    ("docs/api.md", "| `PyMem_Free(block)`, `PyObject_Free(block)` | attached |", "| `PyMem_Free(block)`, "
     "`PyObject_Free(block)` | somebody |", "who may call PyMem_Free: 'somebody'"),
    ("docs/api.md", "| `PyThreadState_Get()` |", "| Get |", "the function PyThreadState_Get is not described"),
    ("docs/api.md", "| `lock_waits` |", "| waits |", "the field lock_waits is not described"),
    ("docs/api.md", "| R1, R2, R3 |", "| R1, R3 |", "the invariant R2 is not described"),
]


class Api(unittest.TestCase):
    maxDiff = None

    def test_api(self):
        self.assertEqual(problems(load()), [])

    def test_it_sees_the_code(self):
        tree = load()
        self.assertGreater(len(functions(headers(tree))), 45)
        self.assertGreater(len(other_names(headers(tree))), 40)
        self.assertGreater(len(stats_fields(headers(tree))), 20)
        fatal = [call for text in tree.values() for call in FATAL.findall(without_comments(text))]
        calls = sum(len(re.findall(r"\bgi_fatal(?:_input)?\(", without_comments(text))) for text in tree.values())
        self.assertEqual(len(fatal), calls - 4)  # two declarations and two definitions

    def test_faults(self):
        good = load()
        for path, old, new, expected in FAULTS:
            with self.subTest(path + ": " + new):
                self.assertEqual(good[path].count(old), 1, old)
                found = problems(dict(good, **{path: good[path].replace(old, new)}))
                self.assertTrue(any(expected in problem for problem in found), found)


if __name__ == "__main__":
    unittest.main()
