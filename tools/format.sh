#!/bin/bash
# SPDX-License-Identifier: MIT
# bazel run //tools:format - writes all C as .clang-format says.
set -euo pipefail
cd "${BUILD_WORKSPACE_DIRECTORY:?run it as: bazel run //tools:format}"
if ! command -v clang-format > /dev/null; then
    echo "clang-format is missing (Debian: apt-get install clang-format)" >&2
    exit 1
fi
find concurrency lib stress tests -name '*.[ch]' -o -name '*.cc' | xargs clang-format -i
