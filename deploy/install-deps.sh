#!/bin/bash
# Installs every Debian package that Sheaf needs to be built, run and tested; only what is missing.
# As root, or through sudo.
#
#   deploy/install-deps.sh            installs
#   deploy/install-deps.sh --check    only says what is missing; exit 1 if anything is
#
# Made for Debian 12. Debian 13 has packages of the same names (checked against its lists) and is untried;
# Ubuntu 24.04 is neither checked nor tried.
set -euo pipefail

build=(
  build-essential cmake ninja-build ccache pkg-config git ca-certificates
  # the fuzz and lint presets; the -14 ones are Debian 12's
  clang clang-tidy clang-format libclang-rt-dev
)
libraries=(
  libfuse3-dev liburing-dev librocksdb-dev libisal-dev
  libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc
  libspdlog-dev libtomlplusplus-dev libcli11-dev nlohmann-json3-dev prometheus-cpp-dev
  libarchive-dev libzstd-dev pybind11-dev python3-dev
  libgtest-dev libgmock-dev libbenchmark-dev
)
run=(fuse3)
test=(
  python3 curl fio iperf3 sqlite3 attr acl e2fsprogs
  # Debian's own zlib and lua are built inside a mount
  dpkg-dev libreadline-dev
  # a stock gRPC client of the data service; nm and readelf are in binutils
  python3-grpcio python3-protobuf binutils
  # units are checked by systemd's own tool; hosts of a made-up network have an ssh server each
  # (dropbear-bin holds the program alone and starts no service)
  systemd iproute2 util-linux openssh-client dropbear-bin shellcheck
)

say() { printf '%s\n' "install-deps: $*"; }
fail() {
  printf '%s\n' "install-deps: error: $*" >&2
  exit 1
}

check_only=0
case "${1:-}" in
  '') ;;
  --check) check_only=1 ;;
  -h | --help)
    sed -n '2,10s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
  *)
    printf '%s\n' "install-deps: error: unknown argument $1 (see --help)" >&2
    exit 2
    ;;
esac

command -v apt-get >/dev/null || fail "apt-get is not here; on other systems install: ${build[*]} ${libraries[*]} ${run[*]} ${test[*]}"

# shellcheck disable=SC1091
system=$(. /etc/os-release && printf '%s %s' "${ID:-unknown}" "${VERSION_ID:-}")
case "$system" in
  'debian 12') ;;
  'debian 13') say "$system has the packages, but Sheaf is untried on it" ;;
  *) say "$system is unknown to this script; trying Debian 12's package names" ;;
esac

installed() { [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

missing=()
for package in "${build[@]}" "${libraries[@]}" "${run[@]}" "${test[@]}"; do
  installed "$package" || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  say "nothing to do: all packages are installed"
  exit 0
fi
if ((check_only)); then
  say "missing: ${missing[*]}"
  exit 1
fi

as_root=()
if ((EUID != 0)); then
  command -v sudo >/dev/null || fail "these packages are missing and this is neither root nor is sudo installed: ${missing[*]}"
  as_root=(sudo)
fi
say "installing: ${missing[*]}"
"${as_root[@]}" apt-get -q -o DPkg::Lock::Timeout=300 update
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "${missing[@]}"
say "done: ${#missing[@]} packages installed"
