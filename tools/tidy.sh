#!/bin/bash
# SPDX-License-Identifier: MIT
# bazel run //tools:tidy [-- FILE.c ...] - clang-tidy, as .clang-tidy says, over all our C, or over some files of it.
set -euo pipefail
cd "${BUILD_WORKSPACE_DIRECTORY:?run it as: bazel run //tools:tidy}"
if ! command -v clang-tidy > /dev/null; then
    echo "clang-tidy is missing (Debian: apt-get install clang-tidy)" >&2
    exit 1
fi
if [ $# = 0 ]; then
    mapfile -t files < <(find concurrency docs lib stress tests -name '*.c' | sort)
    set -- "${files[@]}"
fi
read -ra flags <<< "$(pkg-config --cflags liburcu-qsbr cmocka liblzma jansson python-3.11-embed lua5.4 sqlite3)"
# One file a process, as many at once as there are processors.
printf '%s\0' "$@" | xargs -0 -P "$(nproc)" -I FILE \
    clang-tidy --quiet FILE -- -std=gnu11 -I. -Ilib/include "${flags[@]}" 2> >(grep -v 'warnings\? generated' >&2)
echo "clang-tidy finds nothing in $# files"
