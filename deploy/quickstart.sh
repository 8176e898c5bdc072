#!/bin/bash
# From a checkout to a mounted file system with real data in it, in one command: installs the
# packages, builds Sheaf, starts a cluster of three storage servers with three replicas on this
# machine, copies a tree in, reads it back and compares every byte; then kills a storage server while
# it copies again, and shows that nothing is lost and that the cluster heals.
#
#   deploy/quickstart.sh [DIR]        DIR: the tree to copy in (default: /usr/include)
#
# May be run again: what is installed, built or running is kept, and the copy is made afresh.
#   SHEAF_JOBS   compilers at once (default: one a core, less where memory is short)
#   SHEAF_DIR    where the cluster's state goes (default: ~/.sheaf)
set -euo pipefail

case "${1:-}" in
  -h | --help)
    sed -n '2,12s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac
source_dir=${1:-/usr/include}
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
state=${SHEAF_DIR:-${HOME:-/root}/.sheaf}

say() { printf '\n%s\n' "== $*"; }
fail() {
  printf '%s\n' "quickstart: error: $*" >&2
  exit 1
}
seconds() { date +%s.%N; }
# rate START END: "12.3 s, 456 files/s, 7.8 MiB/s"
rate() {
  awk -v f="$files" -v k="$kib" -v a="$1" -v b="$2" \
    'BEGIN { t = b - a + 0.001; printf "%.1f s, %.0f files/s, %.1f MiB/s", t, f / t, k / 1024 / t }'
}

[[ -d $source_dir ]] || fail "$source_dir: not a directory; name a tree to copy in"
source_dir=$(cd "$source_dir" && pwd)
[[ -e /dev/fuse ]] || fail "/dev/fuse is missing: run modprobe fuse, or give this container the device"

say "Packages"
"$repository/deploy/install-deps.sh"

say "Build (build/release)"
# A compiler takes up to 1 GiB.
memory_gib=$(awk '/MemTotal/ { print int($2 / 1048576) }' /proc/meminfo)
cores=$(nproc)
jobs=${SHEAF_JOBS:-$((memory_gib < cores ? (memory_gib > 1 ? memory_gib : 1) : cores))}
cd "$repository"
cmake --preset release -DSHEAF_BENCH=OFF
cmake --build --preset release -j "$jobs" --target sheaf sheaf-meta sheaf-storage sheaf-fuse
sheaf=$repository/build/release/bin/sheaf

say "Cluster"
if [[ -e $state/cluster.toml ]]; then
  "$sheaf" up --dir "$state"
else
  "$sheaf" up --dir "$state" --storage 3 --replicas 3
fi
mount=$(sed -n 's/^mount = "\(.*\)"$/\1/p' "$state/cluster.toml")
export SHEAF_META
SHEAF_META=$(<"$state/meta.addr")

say "Copy $source_dir in"
target=$mount/quickstart
rm -rf "$target"
mkdir "$target"
files=$(find "$source_dir" -xdev -type f | wc -l)
kib=$(du -skx --apparent-size "$source_dir" | cut -f1)
start=$(seconds)
cp -a --one-file-system "$source_dir/." "$target/"
sync -f "$target"
copied=$(seconds)

say "Read it back and compare every byte"
# Through a mount of its own: the kernel has nothing of it yet, so that all comes from the servers.
second=$(mktemp -d)
unmount_second() {
  "$sheaf" umount "$second" || true
  rmdir "$second"
}
"$sheaf" mount --meta "$SHEAF_META" "$second"
trap unmount_second EXIT
compare=$(seconds)
diff -r --no-dereference "$source_dir" "$second/quickstart" ||
  fail "the copy in $target differs from $source_dir"
compared=$(seconds)

say "Large reads through the library"
"$sheaf" bench write sheaf:/quickstart.bench --size 512M
"$sheaf" bench read sheaf:/quickstart.bench --size 512M
rm -f "$mount/quickstart.bench"

# health: what `sheaf status` says of the cluster.
health() { "$sheaf" status | sed -n 's/^health *//p'; }
killed=
# A cluster from before may have one replica.
if "$sheaf" status | grep -q 'serving, .*serving' && [[ $(health) == ok ]]; then
  say "Kill a storage server while a second copy is made"
  victim=$("$sheaf" node list --json | sed -n 's/.*"pid": *\([0-9]\{1,\}\).*/\1/p' | head -n 1)
  again=$mount/quickstart.again
  rm -rf "$again"
  mkdir "$again"
  start_again=$(seconds)
  cp -a --one-file-system "$source_dir/." "$again/" &
  copy=$!
  sleep 1
  kill -9 "$victim"
  echo "killed process $victim; the copy goes on"
  wait "$copy" || fail "the copy failed when a storage server was killed"
  sync -f "$again"
  copied_again=$(seconds)
  diff -r --no-dereference "$source_dir" "$again" || fail "the copy in $again differs"
  echo "health with a server less: $(health)"
  "$sheaf" up --dir "$state" >/dev/null
  for ((waited = 0; waited < 120; ++waited)); do
    [[ $(health) == ok ]] && break
    sleep 1
  done
  [[ $(health) == ok ]] || fail "the cluster did not heal within two minutes: see $sheaf status"
  echo "health with the server back: ok, after $waited s"
  rm -rf "$again"
  killed=yes
fi

say "All $files files of $source_dir are the same in Sheaf"
printf '  copied in    %s (%s files, %s MiB)\n' "$(rate "$start" "$copied")" "$files" "$((kib / 1024))"
printf '  compared     %s\n' "$(rate "$compare" "$compared")"
if [[ -n $killed ]]; then
  printf '  copied with a server killed  %s, nothing lost\n' "$(rate "$start_again" "$copied_again")"
fi
"$sheaf" status | sed -n '1,4s/^/  /p'
cat <<EOF

How to go on:
  ls $mount
  PATH=$repository/build/release/bin:\$PATH
  sheaf status --meta $SHEAF_META
  sheaf cp /some/tree sheaf:/tree --meta $SHEAF_META
  sheaf down --dir $state          # stops it; sheaf up --dir $state resumes with all data
EOF
