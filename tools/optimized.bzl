# SPDX-License-Identifier: MIT
"""A file of another target, built as -c opt whatever the command line says: optimized (for counts of instructions), and
debuggable, with debug information."""

def _opt_impl(settings, attr):
    return {"//command_line_option:compilation_mode": "opt"}

_opt = transition(implementation = _opt_impl, inputs = [], outputs = ["//command_line_option:compilation_mode"])

def _optimized_impl(ctx):
    file = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.symlink(output = file, target_file = ctx.files.target[0])
    return [DefaultInfo(files = depset([file]), runfiles = ctx.runfiles([file]))]

optimized = rule(
    implementation = _optimized_impl,
    attrs = {
        "target": attr.label(mandatory = True, cfg = _opt),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
    },
)

def _debuggable_impl(settings, attr):
    return {"//command_line_option:compilation_mode": "opt", "//command_line_option:copt": ["-g"]}

_debuggable = transition(
    implementation = _debuggable_impl,
    inputs = [],
    outputs = ["//command_line_option:compilation_mode", "//command_line_option:copt"],
)

debuggable = rule(
    implementation = _optimized_impl,
    attrs = {
        "target": attr.label(mandatory = True, cfg = _debuggable),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
    },
)
