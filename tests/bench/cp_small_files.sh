#!/bin/bash
# `sheaf cp` of many small files into Sheaf and out again, by one or more builds of the command on one
# cluster, in turn: what a change of it brings shows as a ratio within one run.
#
#   tests/bench/cp_small_files.sh BIN [OTHER_SHEAF] [FILES] [KIB] [ROUNDS]
#
#   BIN          where sheaf and the daemons are (build/release/bin)
#   OTHER_SHEAF  another build of the command, to compare with; "" for none
set -euo pipefail

bin=$(cd "${1:?usage: cp_small_files.sh BIN [OTHER_SHEAF] [FILES] [KIB] [ROUNDS]}" && pwd)
other=${2:-}
files=${3:-4000}
kib=${4:-16}
rounds=${5:-3}
dir=$(mktemp -d /var/tmp/sheaf-cp.XXXXXX)
cleanup() {
  "$bin/sheaf" down --dir "$dir/cluster" >/dev/null 2>&1 || true
  rm -rf "$dir"
}
trap cleanup EXIT

mkdir "$dir/in"
for ((i = 0; i < files; ++i)); do
  d="$dir/in/$((i % 20))"
  [[ -d $d ]] || mkdir "$d"
  head -c $((kib * 1024)) /dev/urandom >"$d/$i"
done

# seconds COMMAND...: how long it takes, on standard output
seconds() {
  local start end
  start=$(date +%s.%N)
  "$@" >/dev/null
  end=$(date +%s.%N)
  awk -v a="$start" -v b="$end" 'BEGIN { printf "%.2f", b - a }'
}

"$bin/sheaf" up --dir "$dir/cluster" --storage 1 --no-mount >/dev/null
SHEAF_META=$(<"$dir/cluster/meta.addr")
export SHEAF_META
for ((round = 1; round <= rounds; ++round)); do
  order=("$bin/sheaf" ${other:+"$other"})
  if ((round % 2 == 0)) && [[ -n $other ]]; then order=("$other" "$bin/sheaf"); fi
  for build in "${order[@]}"; do
    name=$([[ $build == "$bin/sheaf" ]] && echo this || echo other)
    into=$(seconds "$build" cp "$dir/in" "sheaf:/$name$round")
    out=$(seconds "$build" cp "sheaf:/$name$round" "$dir/out")
    diff -r "$dir/in" "$dir/out" >/dev/null
    rm -r "$dir/out"
    awk -v r="$round" -v n="$name" -v i="$into" -v o="$out" -v f="$files" 'BEGIN {
      printf "round %d, %s: in %.2f s (%.0f files/s), out %.2f s (%.0f files/s)\n",
             r, n, i, f / i, o, f / o }'
  done
done
