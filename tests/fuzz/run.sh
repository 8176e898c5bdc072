#!/bin/bash
# Builds the fuzzers and runs each for a while, several at once, from what the real encoders write.
#
#   tests/fuzz/run.sh SECONDS [NAME...]     NAME: frame, config, ... (default: all)
#
#   SHEAF_JOBS   compilers and fuzzers at once (default: one a core, less where memory is short)
#
# Fails when any has found something, after all have had their time; the input that does it is in
# build/asan/found, named in the output.
set -euo pipefail

case "${1:-}" in
  -h | --help)
    sed -n '2,9s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac
seconds=${1:-}
if [[ ! $seconds =~ ^[1-9][0-9]*$ ]]; then
  printf '%s\n' "run.sh: error: SECONDS is '$seconds': must be a whole number from 1 (see --help)" >&2
  exit 2
fi
shift
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$repository"

# A compiler with the sanitizers takes up to 1 GiB, a fuzzer is held to as much.
memory_gib=$(awk '/MemTotal/ { print int($2 / 1048576) }' /proc/meminfo)
cores=$(nproc)
jobs=${SHEAF_JOBS:-$((memory_gib < cores ? (memory_gib > 1 ? memory_gib : 1) : cores))}

cmake --preset asan
cmake --build --preset asan -j "$jobs" --target fuzzers make_corpus

# In memory: some decoders read files.
work=$(mktemp -d -p "$(if [[ -w /dev/shm ]]; then echo /dev/shm; else echo "${TMPDIR:-/tmp}"; fi)")
export TMPDIR=$work
trap 'rm -rf "$work"' EXIT
build/asan/bin/make_corpus "$work"
names=("$@")
if ((${#names[@]} == 0)); then
  for program in build/asan/bin/*_fuzzer; do
    names+=("$(basename "$program" _fuzzer)")
  done
fi
mkdir -p build/asan/found

# No allocation of a decoder is in proportion to a number it has read: 64 MiB is far above any input.
run_one() {
  local name=$1 code=0
  mkdir -p "$work/$name"
  "build/asan/bin/${name}_fuzzer" -max_total_time="$seconds" -timeout=10 -max_len=65536 \
    -malloc_limit_mb=64 -rss_limit_mb=1024 -print_final_stats=1 \
    -artifact_prefix="build/asan/found/$name-" "$work/$name" >"$work/$name.log" 2>&1 || code=$?
  if ((code == 0)); then
    printf '%-16s ok      %s runs\n' "$name" \
      "$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$name.log")"
  else
    printf '%-16s FAILED\n' "$name"
    tail -n 60 "$work/$name.log"
  fi
  return "$code"
}

printf '%s\n' "== ${#names[@]} fuzzers, $seconds s each, $jobs at once"
export -f run_one
export work seconds
# Exit code 123 when any of them failed.
printf '%s\n' "${names[@]}" | xargs -P "$jobs" -I NAME bash -c 'run_one NAME || exit 1'
