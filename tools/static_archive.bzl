# SPDX-License-Identifier: MIT
"""static_archive: one .a with the objects of cc_libraries and of all this project's libraries under them, but for one.

Bazel's own .a holds the objects of one cc_library alone.  The objects are the position-independent
ones, so that the archive can go into a shared library too.
"""

load("@bazel_tools//tools/cpp:toolchain_utils.bzl", "find_cpp_toolchain")

def _static_archive_impl(ctx):
    archive = ctx.actions.declare_file(ctx.label.name)
    objects = []
    inputs = depset(transitive = [dep[CcInfo].linking_context.linker_inputs for dep in ctx.attr.deps])
    for linker_input in inputs.to_list():
        if linker_input.owner.workspace_name == ctx.label.workspace_name and linker_input.owner != ctx.attr.but.label:
            for library in linker_input.libraries:
                objects += library.pic_objects or library.objects or []
    if not objects:
        fail("%s has no objects" % ctx.label)

    # D: no times and owners, so that equal objects make equal archives.
    ctx.actions.run(
        executable = find_cpp_toolchain(ctx).ar_executable,
        arguments = [ctx.actions.args().add("qcsD").add(archive).add_all(objects)],
        inputs = depset(objects, transitive = [find_cpp_toolchain(ctx).all_files]),
        outputs = [archive],
        mnemonic = "StaticArchive",
    )
    return [DefaultInfo(files = depset([archive]), runfiles = ctx.runfiles([archive]))]

static_archive = rule(
    implementation = _static_archive_impl,
    attrs = {
        "deps": attr.label_list(mandatory = True, providers = [CcInfo]),
        "but": attr.label(mandatory = True),
        "_cc_toolchain": attr.label(default = "@bazel_tools//tools/cpp:current_cc_toolchain"),
    },
    toolchains = ["@bazel_tools//tools/cpp:toolchain_type"],
)
