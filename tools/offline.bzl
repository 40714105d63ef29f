# SPDX-License-Identifier: MIT
"""Stand-ins for the repositories that Bazel 4's built-in rules would download.

@bazel_tools loads rules_cc, rules_java and remote_coverage_tools even for a
project of plain C. All it takes from the first two is Bazel's own native
rules, so each is written here in place. Bazel 7+ reads MODULE.bazel, never this file.
"""

_NATIVE = {
    "rules_cc": ("cc", ["cc_binary", "cc_library", "cc_test", "cc_toolchain", "cc_toolchain_suite"]),
    "rules_java": ("java", ["java_import", "java_runtime", "java_toolchain"]),
}

_COVERAGE = """
[sh_binary(name = n, srcs = ["coverage.py"], visibility = ["//visibility:public"])
 for n in ["lcov_merger", "coverage_report_generator"]]
"""

def _native_impl(rctx):
    package, rules = _NATIVE[rctx.name]
    rctx.file("BUILD", "")
    rctx.file(package + "/BUILD", "")
    rctx.file(package + "/defs.bzl", "".join(["%s = native.%s\n" % (r, r) for r in rules]))

_native = repository_rule(implementation = _native_impl)

def _coverage_impl(rctx):
    rctx.file("BUILD", _COVERAGE)
    rctx.symlink(Label("//tools:coverage.py"), "coverage.py")

_coverage = repository_rule(implementation = _coverage_impl)

def offline_repositories():
    for name in _NATIVE:
        _native(name = name)
    _coverage(name = "remote_coverage_tools")
