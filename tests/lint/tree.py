# SPDX-License-Identifier: MIT
"""tree.py - the tree as lint sees it: a dict from path to text, so that a test can seed a fault in a copy.

Lint runs on the source tree itself (Bazel's links are followed back to it): a new file needs no entry in a BUILD file.
"""
import collections
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SKIPPED = re.compile(r"(\.git|bazel-.*|__pycache__|MODULE\.bazel\.lock)(/|$)")

Comment = collections.namedtuple("Comment", "text first last alone")  # lines from 1; alone: nothing else on its lines


def load(root=ROOT):
    """All text files under `root`."""
    tree = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if not SKIPPED.match(name) and "/__pycache__/" not in name and path.is_file() and not path.is_symlink():
            try:
                tree[name] = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                tree[name] = None  # binary: it exists, and that is all
    return tree


def is_c(path):
    return path.endswith((".c", ".h", ".cc"))


def is_library(path):
    return is_c(path) and path.startswith(("lib/", "concurrency/"))


TOKEN = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.S)


def split_c(text, keep_strings=False):
    """(code, comments): the code with comments blanked out (strings too, unless kept), lines unchanged."""
    comments = []

    def blank(match):
        token = match.group()
        if token[0] == "/":
            first = text.count("\n", 0, match.start()) + 1
            before = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
            after = text[match.end() :].partition("\n")[0]
            comments.append(Comment(token, first, first + token.count("\n"), not (before + after).strip()))
        elif keep_strings:
            return token
        else:
            return token[0] + re.sub(r"[^\n]", " ", token[1:-1]) + token[-1]
        return re.sub(r"[^\n]", " ", token)

    return TOKEN.sub(blank, text), comments


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def functions(code):
    """{name: (first line, last line)} of the functions defined in blanked C code."""
    code = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: re.sub(r"[^\n]", " ", m.group()), code, flags=re.M)
    code = re.sub(r'extern "\s*"\s*\{', lambda m: re.sub(r"[^\n]", " ", m.group()), code)
    found, depth, start, name, first = {}, 0, 0, None, 0
    for match in re.finditer(r"[{};]", code):
        if match.group() == "{":
            depth += 1
            if depth == 1:
                name = function_name(code[start : match.start()])
                first = line_of(code, match.start())
        elif match.group() == "}":
            depth -= depth > 0
            if depth == 0 and name:
                found[name] = (first, line_of(code, match.start()))
                name = None
        if depth == 0:
            start = match.end()
    return found


def function_name(head):
    """The name in the text before a body, or None where this is no function."""
    nested = r"\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)"
    head = re.sub(r"\b(?:__attribute__|_Alignas|gi_atomic|_Atomic)\s*" + nested, " ", head)
    if "=" in head:
        return None
    match = re.search(r"(\w+)\s*\(", head)
    return match.group(1) if match else None


def report(problems):
    """Prints each problem; the exit status."""
    for problem in problems:
        print(problem)
    print("%d problem%s" % (len(problems), "" if len(problems) == 1 else "s"))
    return 1 if problems else 0


def main(problems):
    sys.exit(report(problems(load())))
