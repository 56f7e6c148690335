#!/usr/bin/env bash
# Installs BUILD to a temporary prefix, then configures, builds and runs the consumer project against it.
#   tests/consumer/run.sh BUILD
set -euo pipefail
build=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/prefix" >"$work/install.log" || { cat "$work/install.log"; exit 1; }
cmake -S "$here" -B "$work/build" -G Ninja -DCMAKE_PREFIX_PATH="$work/prefix" >"$work/configure.log" ||
  { cat "$work/configure.log"; exit 1; }
cmake --build "$work/build" >"$work/build.log" || { cat "$work/build.log"; exit 1; }
ORRERY_DATA="$work/prefix/share/orrery" "$work/build/consumer"
"$work/prefix/bin/orrery" --version
