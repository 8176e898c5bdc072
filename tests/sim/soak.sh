#!/bin/sh
# Runs schedules until stopped or until one fails: soak.sh BUILD_DIR [MILLIONS [FIRST_SEED]]
# Without MILLIONS for ever.
set -eu
build=${1:?usage: soak.sh BUILD_DIR [MILLIONS [FIRST_SEED]]}
left=${2:-}
first=${3:-1}
while [ "$left" != 0 ]; do
  echo "seeds from $first"
  "$build/bin/sim" --first "$first" --schedules 1000000 --jobs "$(nproc)"
  first=$((first + 1000000))
  [ -z "$left" ] || left=$((left - 1))
done
