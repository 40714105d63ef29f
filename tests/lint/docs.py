#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""docs.py - what each README.md and docs/*.md name exists (but for the README.md of the traces, which came with them).

Paths that begin with a folder of this tree, names of source files, targets of Bazel, links, and symbols that begin with
gi_, GI_, gilloc_, GILLOC_ or are CPython's (Py..._...).  `name{a,b}` is both; `name*` is anything that begins so.  What
does not exist in this tree by intent (CPython's own files, say) is written with its folder: Objects/obmalloc.c.
"""
import fnmatch
import itertools
import re

import tree as t

FOLDERS = ("concurrency", "docs", "lib", "stress", "tests", "tools", r"\.ci")
BRACES = re.compile(r"([\w./*-]*)\{([\w./*-]*(?:,\s*[\w./*-]*)+)\}([\w./*-]*)")
PATH = re.compile(r"(?<![\w/.$}*-])(?:%s)/[\w./*-]*" % "|".join(FOLDERS))
FILE = re.compile(r"(?<![\w/.*<-])[\w-]+\.(?:c|h|cc|py|sh|bzl|md|map|svg)(?![\w/(])")
LABEL = re.compile(r"(?<![\w:/])//([\w/-]*)(?::([\w./-]+))?(?![\w./])")
LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)]*)?\)")
SYMBOL = re.compile(r"(?<![\w./-])(?:(?:gi|GI|gilloc|GILLOC)_\w*|Py[A-Z]\w*_\w*|PYMEM_\w+)(\*|\.\.\.|…)?")
SPAN = re.compile(r"```.*?```|`[^`\n]+`", re.S)


def is_doc(path):
    if path.startswith("docs/"):
        return path.endswith(".md")
    return path.rsplit("/", 1)[-1] == "README.md" and not path.startswith("stress/traces/")


def expand(text):
    """`a{b,c}d` -> `abd acd`, in place, until no braces are left."""
    while True:
        wider = BRACES.sub(lambda m: " ".join(m[1] + middle.strip() + m[3] for middle in m[2].split(",")), text)
        if wider == text:
            return text
        text = wider


def identifiers(tree):
    """Every name in the sources, strings included (names of environment variables), comments not."""
    names = set()
    for path, text in tree.items():
        if text is not None and t.is_c(path):
            names |= set(re.findall(r"\w+", t.split_c(text, keep_strings=True)[0]))
        elif text is not None and re.search(r"(^|/)(BUILD|\.bazelrc|[\w-]+\.bzl|[\w-]+\.py|gilloc\.map)$", path):
            names |= set(re.findall(r"\w+", re.sub(r"(?m)^\s*#.*$", "", text)))
    return names


def has_path(tree, path):
    folders = {"/".join(parts) for name in tree for parts in itertools.accumulate([[part] for part in name.split("/")])}
    path = path.rstrip("/")
    return any(fnmatch.fnmatchcase(name, path) or name.rsplit(".", 1)[0] == path for name in folders)


def has_target(tree, package, target):
    build = tree.get(package + "/BUILD" if package else "BUILD")
    name = target or package.rsplit("/", 1)[-1]
    if build is None:
        return False
    suffixes = ["", *re.findall(r'\("(_\w+)", \{', build)]  # of a target with a setting: name + suffix
    named = any(name.endswith(suffix) and '"%s"' % name[: len(name) - len(suffix)] in build for suffix in suffixes)
    return named or (package + "/" + name).lstrip("/") in tree


def problems(tree):
    names, out = identifiers(tree), []
    base_names = {path.rsplit("/", 1)[-1] for path in tree}
    for doc, text in tree.items():
        if text is None or not is_doc(doc):
            continue

        def flag(line, what, name):
            out.append("%s:%d: %s %s does not exist" % (doc, line, what, name))

        for match in LINK.finditer(text):
            target = match.group(1)
            if not re.match(r"\w+:", target):
                parts = []
                for part in (doc.rsplit("/", 1)[0] + "/" if "/" in doc else "").split("/") + target.split("/"):
                    if part == ".." and parts:
                        parts.pop()
                    elif part not in ("", "."):
                        parts.append(part)
                if not has_path(tree, "/".join(parts)):
                    flag(t.line_of(text, match.start()), "the link's", target)
        text = LINK.sub("]", text)  # a link has been looked at
        for number, line in enumerate(text.split("\n"), 1):
            line = expand(line)
            for match in PATH.finditer(line):
                path = match.group().rstrip(".")
                if not has_path(tree, path):
                    flag(number, "the path", path)
            for match in SYMBOL.finditer(line):
                name = match.group().rstrip("*.…")
                if match.group(1) or name.endswith("_"):
                    known = any(other.startswith(name) for other in names)
                else:
                    known = name in names
                if not known:
                    flag(number, "the name", match.group())
        for span in SPAN.finditer(text):
            for match in LABEL.finditer(span.group()):
                package, target = match.groups()
                if (package or target) and not package.endswith("/") and not has_target(tree, package, target):
                    flag(t.line_of(text, span.start() + match.start()), "the target", match.group())
            if not span.group().startswith("```"):
                for match in FILE.finditer(expand(span.group())):
                    if match.group() not in base_names:
                        flag(t.line_of(text, span.start()), "the file", match.group())
    return out


if __name__ == "__main__":
    t.main(problems)
