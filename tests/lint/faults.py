# SPDX-License-Identifier: MIT
"""faults.py - seeds faults in a small tree, one at a time, and sees each found.

A fault is (name, path, old, new, what the lint must say): `old` in the text of `path` becomes `new` (None for `new`:
the file goes; None for `old`: the file is made).
"""
import sys


def seed(tree, path, old, new):
    tree = dict(tree)
    if new is None:
        del tree[path]
    elif old is None:
        tree[path] = new
    else:
        if tree[path].count(old) != 1:
            raise ValueError("%s: %r stands there %d times" % (path, old, tree[path].count(old)))
        tree[path] = tree[path].replace(old, new)
    return tree


def run(problems, good, faults):
    failed = ["the tree without a fault: %s" % problem for problem in problems(good)]
    for name, path, old, new, expected in faults:
        found = problems(seed(good, path, old, new))
        if any(expected in problem for problem in found):
            print("found  %s: %s" % (name, next(problem for problem in found if expected in problem)))
        else:
            failed.append("%s: not found, but %s" % (name, found))
    print("\n".join(failed) or "all %d faults found" % len(faults))
    sys.exit(1 if failed else 0)
