#!/bin/bash
# Reads through the library beside fio on the same disk, in one run: a file over three storage
# servers, sequentially in 1 MiB blocks at depth 8, and 4 KiB at random places at depth 32. Cold: the
# servers read with O_DIRECT, and the page cache is dropped (needs root).
#
#   tests/bench/cluster_read.sh BIN [DIR] [GIB] [ROUNDS]
#
#   BIN     where sheaf and its daemons are (build/release/bin)
#   DIR     on the disk to measure (default: a temporary directory under /var/tmp)
set -euo pipefail

sheaf=$(cd "${1:?usage: cluster_read.sh BIN [DIR] [GIB] [ROUNDS]}" && pwd)/sheaf
gib=${3:-4}
rounds=${4:-3}
dir=$(mktemp -d "${2:-/var/tmp}/sheaf-bench.XXXXXX")
cleanup() {
  "$sheaf" down --dir "$dir/cluster" >/dev/null 2>&1 || true
  rm -rf "$dir"
}
trap cleanup EXIT

drop() {
  sync
  echo 3 >/proc/sys/vm/drop_caches
}
# json KEY: a number of the object on standard input
json() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
# fio_read BLOCK DEPTH RW KEY: MiB/s ("bw") or operations/s ("iops")
fio_read() {
  drop
  fio --name=read --filename="$dir/fio" --size="${gib}G" --rw="$3" --bs="$1" --iodepth="$2" \
    --ioengine=io_uring --direct=1 --runtime=8 --time_based --output-format=json |
    python3 -c 'import json, sys
job = json.load(sys.stdin)["jobs"][0]["read"]
print(job["bw_bytes"] / 2**20 if sys.argv[1] == "bw" else job["iops"])' "$4"
}
# sheaf_read KEY OPTION...
sheaf_read() {
  local key=$1
  shift
  drop
  "$sheaf" bench read sheaf:/bench --size "${gib}G" --json "$@" | json "$key"
}

"$sheaf" up --dir "$dir/cluster" --storage 3 --no-mount >/dev/null
SHEAF_META=$(<"$dir/cluster/meta.addr")
export SHEAF_META
"$sheaf" bench write sheaf:/bench --size "${gib}G" --json >"$dir/write.json"
fio --name=fill --filename="$dir/fio" --size="${gib}G" --rw=write --bs=1M --iodepth=8 \
  --ioengine=io_uring --direct=1 --end_fsync=1 --output-format=json >/dev/null
printf 'write 1 MiB, depth 8, every byte durable: %.0f MiB/s\n' "$(json mib_per_s <"$dir/write.json")"

for ((round = 1; round <= rounds; ++round)); do
  sequential=$(sheaf_read mib_per_s --block 1M --depth 8)
  disk=$(fio_read 1M 8 read bw)
  random=$(sheaf_read ops_per_s --block 4K --depth 32 --random)
  disk_random=$(fio_read 4k 32 randread iops)
  awk -v r="$round" -v a="$sequential" -v b="$disk" -v c="$random" -v d="$disk_random" 'BEGIN {
    printf "round %d: 1 MiB %.0f of %.0f MiB/s = %.2f; 4 KiB random %.0f of %.0f/s = %.2f\n",
           r, a, b, a / b, c, d, c / d }'
done
