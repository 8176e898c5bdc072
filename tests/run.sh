#!/bin/bash
# Builds Sheaf and runs every test; ends with ctest's summary.
#
#   tests/run.sh [PRESET] [CTEST OPTION...]     PRESET: dev (default), release, asan, tsan
#
#   SHEAF_JOBS   compilers and tests at once (default: one a core, less where memory is short)
#   SHEAF_SEED   the seed of a failed random test, to run it again
set -euo pipefail

case "${1:-}" in
  -h | --help)
    sed -n '2,7s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac
preset=${1:-dev}
shift || true
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repository"

case "$preset" in
  dev | release | asan | tsan) ;;
  *)
    printf '%s\n' "run.sh: error: preset $preset: not one of dev, release, asan, tsan" >&2
    exit 2
    ;;
esac

deploy/install-deps.sh

# A compiler takes up to 1 GiB, with the sanitizers more.
memory_gib=$(awk '/MemTotal/ { print int($2 / 1048576) }' /proc/meminfo)
cores=$(nproc)
jobs=${SHEAF_JOBS:-$((memory_gib < cores ? (memory_gib > 1 ? memory_gib : 1) : cores))}

cmake --preset "$preset"
cmake --build --preset "$preset" -j "$jobs"
ctest --preset "$preset" -j "$jobs" --no-tests=error "$@"
