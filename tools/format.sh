#!/bin/bash
# SPDX-License-Identifier: MIT
# bazel run //tools:format - writes all C as .clang-format says, and cuts the rules between sections to 120 columns.
set -euo pipefail
cd "${BUILD_WORKSPACE_DIRECTORY:?run it as: bazel run //tools:format}"
if ! command -v clang-format > /dev/null; then
    echo "clang-format is missing (Debian: apt-get install clang-format)" >&2
    exit 1
fi
mapfile -t files < <(find concurrency docs lib stress tests -name '*.[ch]' -o -name '*.cc')
perl -pi -e 's{^(/\* --- .*---) \*/$}{substr($1, 0, 117) . " */"}e' "${files[@]}"
clang-format -i "${files[@]}"
