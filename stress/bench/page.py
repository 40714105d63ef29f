#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""page.py - the tables of docs/performance.md, from what the benchmark measured.

    stress/bench/page.py [--check] FILE...        in the checkout; docs/performance.md by default docs/plots/*.json

FILE is what `//stress:bench -- --json=FILE` wrote (the shape: document.h); of two with the same workload the later one
counts.  What stands between two marks of the page is written anew: the goals, what settings cost, all workloads.
--check writes nothing, and fails if the page has other figures than the files.

A ratio is the median of the rounds' ratios; "net" is without the null allocator, whose calls do nothing.
"""
import argparse
import json
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/performance.md"
FILES = ["bench.json", "settings.json"]
MODES = ("gilloc-gil", "gilloc-free")
PEERS = ("pymalloc", "glibc", "mimalloc", "jemalloc", "tcmalloc", "tbbmalloc")
TRACES = ("startup", "jsonre", "compileall")


class Measured:
    """All workloads of the files."""

    def __init__(self, paths):
        documents = [json.loads(Path(path).read_text()) for path in paths]
        self.workloads = {work["name"]: work for document in documents for work in document["workloads"]}
        self.machines = [document["machine"] for document in documents]

    def result(self, work, who):
        found = [result for result in self.workloads[work]["results"] if result["contender"] == who]
        return found[0] if found and "median" in found[0] else None

    def median(self, work, who, figure=0):
        result = self.result(work, who)
        return result["median"][figure] if result else None

    def net(self, work, who):
        return self.result(work, who)["net"]

    def ratio(self, work, who, by, figure=0):
        ours, theirs = self.result(work, who), self.result(work, by)
        if ours is None or theirs is None:
            return None
        pairs = zip(ours["rounds"], theirs["rounds"])
        return statistics.median(one[figure] / other[figure] for one, other in pairs)

    def ratio_of_works(self, work, base, who):
        pairs = zip(self.result(work, who)["rounds"], self.result(base, who)["rounds"])
        return statistics.median(one[0] / other[0] for one, other in pairs)

    def best_peer(self, work, of=PEERS, figure=0, net=False):
        """The peer with the best median; of those whose threads may allocate at the same time."""
        results = [self.result(work, who) for who in of]
        results = [result for result in results if result and not result["one_at_a_time"]]
        sign = -1 if self.workloads[work]["figures"][figure]["high_is_good"] else 1
        best = min(results, key=lambda result: result["net"] if net else sign * result["median"][figure])
        return best["contender"]


# --- words --------------------------------------------------------------------------------------


def number(value):
    """Three digits that mean something."""
    if value is None:
        return "-"
    return "%.*f" % (2 if abs(value) < 10 else 1 if abs(value) < 100 else 0, value)


def both(values, form=number):
    """One figure for each mode; one for both where they are the same and say so."""
    return " / ".join(form(value) for value in values)


def verdict(values, goal, high_is_good=False):
    def word(value):
        times = value / goal
        is_reached = times >= 0.995 if high_is_good else times < 1.005
        return "reached" if is_reached else "%.2f of it" % times

    words = [word(value) for value in values]
    return words[0] if len(set(words)) == 1 else " / ".join(words)


# --- goals --------------------------------------------------------------------------------------


def by_best(figures, work, goal, by_pymalloc=None):
    best = figures.best_peer(work)
    ratios = [figures.ratio(work, mode, best) for mode in MODES]
    measured = "%s ns; %s of %s" % (both([figures.median(work, mode) for mode in MODES]), both(ratios), best)
    goals, word = "%.2f of the best peer" % goal, verdict(ratios, goal)
    if by_pymalloc:
        ratios = [figures.ratio(work, mode, "pymalloc") for mode in MODES]
        measured += "; %s of pymalloc" % both(ratios)
        goals += ", %.2f of pymalloc" % by_pymalloc
        word += "; pymalloc: " + verdict(ratios, by_pymalloc)
    return measured, goals, word


def net_by_best(figures, work):
    best = figures.best_peer(work, of=PEERS[1:], net=True)
    ratios = [figures.net(work, mode) / figures.net(work, best) for mode in MODES]
    gross = both([figures.median(work, mode) for mode in MODES])
    return ("%s ns gross; net %s of %s" % (gross, both(ratios), best), "1.00 of the best peer without dispatch",
            verdict(ratios, 1))


def traces_by_pymalloc(figures):
    ratios = []
    for mode in MODES:
        works = ["trace-" + trace for trace in TRACES]
        ratios.append(statistics.geometric_mean(figures.net(work, mode) / figures.net(work, "pymalloc")
                                                for work in works))
    return "%s of pymalloc" % both(ratios), "0.60", verdict(ratios, 0.6)


def peak_by_pymalloc(figures, work):
    ratios = [figures.ratio(work, mode, "pymalloc", 1) for mode in MODES]
    peaks = both([figures.median(work, mode, 1) for mode in MODES])
    return "%s MiB; %s of pymalloc" % (peaks, both(ratios)), "1.00 of pymalloc", verdict(ratios, 1)


def by_own(figures, work, base, goal, words="%s"):
    ratios = [figures.ratio_of_works(work, base, mode) for mode in MODES]
    return words % both(ratios), "%.2f" % goal, verdict(ratios, goal)


def by_glibc(figures, work):
    ratios = [figures.ratio(work, mode, "glibc") for mode in MODES]
    times = [figures.median(work, mode) for mode in MODES]
    return "%s ns; %s of glibc called directly" % (both(times), both(ratios)), "1.05", verdict(ratios, 1.05)


def figure(figures, work, index, goal, unit, best_words="", of=PEERS):
    """A figure as it is, and the best peer's."""
    values = [figures.median(work, mode, index) for mode in MODES]
    measured = both(values) + unit
    if best_words:
        best = figures.best_peer(work, of=of, figure=index)
        measured += best_words % (best, number(figures.median(work, best, index)))
    return measured, number(goal), verdict(values, goal)


def trivial(figures):
    above = [figures.median("trivial", mode) - figures.median("trivial", "glibc") for mode in MODES]
    return "%s MiB above glibc" % both(above, "{:+.2f}".format), "+0.3", verdict(above, 0.3)


def lock(figures, work, goal):
    ours, free, python = [figures.median(work, who) for who in (*MODES, "pymalloc")]
    return ("%s ns (GIL-free mode %s); CPython %s" % (number(ours), number(free), number(python)), "%d ns" % goal,
            verdict([ours], goal))


def lock_wakes(figures, work):
    share = figures.median(work, MODES[0]) / figures.median("lock-io-0", MODES[0])
    measured = "%d wake-ups/s, %.0f %% of alone; CPython %d" % (figures.median(work, MODES[0]), 100 * share,
                                                               figures.median(work, "pymalloc"))
    return measured, "60 %", verdict([share], 0.6, high_is_good=True)


def lock_work(figures, work):
    ratio = figures.ratio(work, MODES[0], "pymalloc", 2)
    measured = "%s M/s (CPython %s): %s of CPython" % (number(figures.median(work, MODES[0], 2)),
                                                     number(figures.median(work, "pymalloc", 2)), number(ratio))
    return measured, "0.95", verdict([ratio], 0.95, high_is_good=True)


def own(figures, work, goal, unit, sign=""):
    values = [figures.median(work, mode) for mode in MODES]
    return both(values, lambda value: sign + number(value)) + unit, "%s%d%s" % (sign, goal, unit), verdict(values, goal)


def heaps(figures):
    works = [work for work in figures.workloads if work.startswith("heap-")]
    most = [max((figures.ratio(work, mode, "limit-call"), work) for work in works) for mode in MODES]
    ratios = [ratio for ratio, _ in most]
    return "at most " + " / ".join("%s (`%s`)" % (number(ratio), work) for ratio, work in most), "1.30", verdict(
        ratios, 1.3)


def goals(figures):
    """(what, (measured, goal, verdict)); the goals are those of the project, beside the best that anyone reaches."""
    rows = []

    def row(what, cells):
        rows.append((what, *cells))

    row("`pair-32`", by_best(figures, "pair-32", 0.85))
    row("`pair-mixed`", by_best(figures, "pair-mixed", 0.95))
    for work in ("batch-lifo", "batch-fifo", "batch-random"):
        row("`%s`" % work, by_best(figures, work, 0.85, 0.33))
    row("`churn-1k`", by_best(figures, "churn-1k", 0.9, 0.33))
    row("`churn-100k`", by_best(figures, "churn-100k", 0.9, 0.55))
    row("`churn-1m`", by_best(figures, "churn-1m", 0.9))
    for trace in TRACES:
        row("`trace-%s`, net" % trace, net_by_best(figures, "trace-" + trace))
    row("the same by pymalloc, geometric mean", traces_by_pymalloc(figures))
    for trace in TRACES:
        row("`trace-%s`, peak" % trace, peak_by_pymalloc(figures, "trace-" + trace))
    for base in ("pair-32", "batch-random", "churn-100k", "trace-jsonre"):
        row("`%s-2t` by `%s`, each thread" % (base, base), by_own(figures, base + "-2t", base, 1.03))
    for work, goal in (("hand-off", 0.8), ("ring", 0.95), ("larson", 1), ("xmalloc", 1), ("cache-scratch", 1),
                       ("cache-thrash", 1)):
        row("`%s`" % work, by_best(figures, work, goal))
    for work in ("larson-wide", "xmalloc-wide"):
        row("`%s`, original sizes" % work, by_best(figures, work, 1))
    row("`birth`", by_best(figures, "birth", 0.9))
    row("`large-mem`", by_glibc(figures, "large-mem"))
    row("`large-object`", by_glibc(figures, "large-object"))
    row("`zero-object` by `batch-lifo`", by_own(figures, "zero-object", "batch-lifo", 1))
    row("`fragment-runs`, left", figure(figures, "fragment-runs", 0, 15, " % of full", "; best peer %s %s %%"))
    row("`fragment-runs`, peak when refilled",
        figure(figures, "fragment-runs", 1, 1.05, " of live", "; best peer %s %s"))
    row("`fragment-random`, peak when refilled",
        figure(figures, "fragment-random", 1, 1.95, " of live", "; best peer %s %s"))
    row("`trivial`", trivial(figures))
    row("`replace`", figure(figures, "replace", 0, 1.1, " of live", "; best peer %s %s"))
    row("`short-threads`", figure(figures, "short-threads", 0, 1.25, " of live", "; best peer %s %s"))
    row("`lock-pair`", lock(figures, "lock-pair", 12))
    row("`lock-nested`", lock(figures, "lock-nested", 4))
    row("`lock-new`", lock(figures, "lock-new", 150))
    for busy in (1, 2, 4):
        row("`lock-io-%d`" % busy, lock_wakes(figures, "lock-io-%d" % busy))
        row("`lock-io-%d`, work of the busy threads" % busy, lock_work(figures, "lock-io-%d" % busy))
    row("`retire`", own(figures, "retire", 5, " ns", "+"))
    row("`safepoint`", own(figures, "safepoint", 2, " ns"))
    row("`stop-8`, p99", own(figures, "stop-8", 200, " us"))
    row("`heap-1m` to `heap-4g`, by limit-call", heaps(figures))
    lines = ["| what | measured, gil / GIL-free | goal | |", "|---|---|---|---|"]
    return lines + ["| %s |" % " | ".join(cells) for cells in rows]


# --- what settings cost -------------------------------------------------------------------------

SETTINGS = (  # variable, contender for both modes, goal for the traces
    ("`GILLOC_SAMPLE=524288`", "sample", 1.03),
    ("`PYTHONTRACEMALLOC=1`", "trace", 4),
    ("`GILLOC_HARDEN=1`", "harden", 1.3),
    ("`PYTHONMALLOC=debug`", "debug", 2.5),
    ("statistics, 10 times a second", "stats", None),
)


def settings(figures):
    works = ["over-pair", *("over-" + trace for trace in TRACES)]
    lines = ["| setting | `pair` | `startup` | `jsonre` | `compileall` | goal for traces | |", "|" + "---|" * 7]
    for words, name, goal in SETTINGS:
        both_with = [(mode.replace("gilloc-", "") + "-" + name, mode) for mode in MODES]
        pairs = [[figures.ratio(work, with_it, mode) for with_it, mode in both_with] for work in works]
        most = [max(pair[mode] for pair in pairs[1:]) for mode in (0, 1)]
        cells = [words, *(both(pair) for pair in pairs), "%g" % goal if goal else "-",
                 verdict(most, goal) if goal else ""]
        lines.append("| %s |" % " | ".join(cells))
    for words, who in (("pymalloc, its debug hooks", "py-debug"), ("pymalloc, tracemalloc", "py-trace")):
        cells = [words, *(number(figures.ratio(work, who, "pymalloc")) for work in works), "", ""]
        lines.append("| %s |" % " | ".join(cells))
    debug = [figures.ratio(work, "gil-debug", "py-debug") for work in works]
    lines.append("| debug hooks' time by that of CPython's | %s | | |" % " | ".join(map(number, debug)))
    return [line.replace("|  ", "| ") for line in lines]


# --- all workloads ------------------------------------------------------------------------------


def everything(figures):
    lines = ["| workload | figure | gil | free | best peer | its | gil by it | free by it | gil by pymalloc | "
             "free by pymalloc | gil by limit | free by limit |", "|" + "---|" * 12]
    for name, work in figures.workloads.items():
        if work["group"] == "overheads":
            continue
        first = work["figures"][0]
        peers = [who for who in PEERS if figures.result(name, who)]
        best = figures.best_peer(name) if peers else "-"
        cells = [name, first["name"] + (" (high is good)" if first["high_is_good"] else "")]
        cells += [number(figures.median(name, mode)) for mode in MODES]
        cells += [best, number(figures.median(name, best)) if peers else "-"]
        cells += [number(figures.ratio(name, mode, by)) for by in (best, "pymalloc", "limit-call") for mode in MODES]
        lines.append("| %s |" % " | ".join(cells))
    return lines


# --- the page -----------------------------------------------------------------------------------

PARTS = {"goals": goals, "settings": settings, "everything": everything}


def with_part(text, name, lines):
    begin, end = "<!-- %s: written by stress/bench/page.py -->\n" % name, "<!-- end of %s -->" % name
    if text.count(begin) != 1 or text.count(end) != 1:
        sys.exit("%s: the marks of %s are not there once" % (PAGE, name))
    return text[: text.index(begin) + len(begin)] + "\n".join(["", *lines, "", ""]) + text[text.index(end) :]


def main():
    parser = argparse.ArgumentParser(description="Writes the tables of docs/performance.md.")
    parser.add_argument("files", nargs="*", metavar="FILE", type=Path, help="what the benchmark wrote by --json")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page has other figures")
    arguments = parser.parse_args()
    figures = Measured(arguments.files or [ROOT / "docs/plots" / name for name in FILES])
    old = new = PAGE.read_text()
    for name, part in PARTS.items():
        new = with_part(new, name, part(figures))
    if arguments.check:
        if new != old:
            sys.exit("docs/performance.md is not what stress/bench/page.py makes of docs/plots")
        return
    PAGE.write_text(new)


if __name__ == "__main__":
    main()
