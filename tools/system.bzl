# SPDX-License-Identifier: MIT
"""Libraries of the system, found through pkg-config: `pkg_config_library(name = "x")` makes `@x//:lib`, and
`@x//:headers` for who does not link it.

An include directory that the compiler does not search by itself is linked into the
repository, so that a package under a prefix of its own (PKG_CONFIG_PATH) works as well.

Headers that may be missing: `optional_header(name = "x", header = "x.h", define = "HAVE_X")` makes `@x//:lib`, which
defines HAVE_X where the compiler finds the header.  It is looked for when Bazel's server starts: after the package has
been installed, `bazel shutdown`.

What is built only where a library is: `optional_package(name = "has_x", pc = "x")` makes `@has_x//:found.bzl`, whose
FOUND says whether pkg-config knows it.  It is asked at the same time.
"""

_BUILD = """# Made by //tools:system.bzl.
cc_library(
    name = "headers",
    hdrs = glob({globs}),
    defines = {defines},
    includes = {includes},
    visibility = ["//visibility:public"],
)

cc_library(
    name = "lib",
    linkopts = {linkopts},
    visibility = ["//visibility:public"],
    deps = [":headers"],
)
"""

def _ask(rctx, pkg_config, option):
    answer = rctx.execute([pkg_config, option, rctx.attr.pc])
    if answer.return_code != 0:
        fail("the library %s is missing: pkg-config does not know it (Debian: apt-get install %s)\n%s" %
             (rctx.attr.pc, rctx.attr.debian, answer.stderr))
    return [word for word in answer.stdout.strip().split(" ") if word]

def _pkg_config_library_impl(rctx):
    pkg_config = rctx.which("pkg-config")
    if pkg_config == None:
        fail("the program pkg-config is missing; it is asked for %s (Debian: apt-get install pkg-config %s)" %
             (rctx.attr.pc, rctx.attr.debian))
    flags = _ask(rctx, pkg_config, "--cflags")
    includes = []
    for flag in flags:
        # The compiler has /usr/include and its multiarch folder (one level deeper) by itself.
        own = flag == "-I/usr/include" or (flag.startswith("-I/usr/include/") and flag.endswith("-linux-gnu"))
        if flag.startswith("-I") and not own:
            folder = "include%d" % len(includes)
            rctx.symlink(flag[2:], folder)
            includes.append(folder)
    rctx.file("WORKSPACE", "")
    rctx.file("BUILD", _BUILD.format(
        globs = ["%s/**/*.h" % folder for folder in includes],
        defines = [flag[2:] for flag in flags if flag.startswith("-D")],
        includes = includes,
        linkopts = _ask(rctx, pkg_config, "--libs"),
    ))

pkg_config_library = repository_rule(
    implementation = _pkg_config_library_impl,
    attrs = {"pc": attr.string(mandatory = True), "debian": attr.string(mandatory = True)},
    environ = ["PKG_CONFIG_PATH"],
    local = True,
)

_OPTIONAL_BUILD = """# Made by //tools:system.bzl.
cc_library(
    name = "lib",
    defines = {defines},
    visibility = ["//visibility:public"],
)
"""

def _optional_header_impl(rctx):
    compiler = rctx.which(rctx.os.environ.get("CC", "cc")) or rctx.which("gcc")
    found = False
    if compiler != None:
        rctx.file("look.c", "#include <%s>\n" % rctx.attr.header)
        found = rctx.execute([compiler, "-fsyntax-only", "look.c"]).return_code == 0
    rctx.file("WORKSPACE", "")
    rctx.file("BUILD", _OPTIONAL_BUILD.format(defines = [rctx.attr.define] if found else []))

optional_header = repository_rule(
    implementation = _optional_header_impl,
    attrs = {"header": attr.string(mandatory = True), "define": attr.string(mandatory = True)},
    environ = ["CC"],
    local = True,
)

def _optional_package_impl(rctx):
    pkg_config = rctx.which("pkg-config")
    found = pkg_config != None and rctx.execute([pkg_config, "--exists", rctx.attr.pc]).return_code == 0
    rctx.file("WORKSPACE", "")
    rctx.file("BUILD", "")
    rctx.file("found.bzl", "FOUND = %s\n" % found)

optional_package = repository_rule(
    implementation = _optional_package_impl,
    attrs = {"pc": attr.string(mandatory = True)},
    environ = ["PKG_CONFIG_PATH"],
    local = True,
)
