#!/bin/sh
# Simulated clusters from fresh seeds: soak.sh [MINUTESm|COUNT], ten minutes unless said. Ends at the
# first failure, which comes with the command that repeats it. SIM: the program, of a release build.
set -eu
cd "$(dirname "$0")/../.."
sim=${SIM:-build/release/bin/sim}
batch=2000
deadline= left=
amount=${1:-10m}
case $amount in
  *m) deadline=$(($(date +%s) + 60 * ${amount%m})) ;;
  *) left=$amount ;;
esac
while :; do
  if [ -n "$deadline" ]; then
    [ "$(date +%s)" -lt "$deadline" ] || break
  else
    [ "$left" -gt 0 ] || break
    [ "$left" -ge $batch ] || batch=$left
    left=$((left - batch))
  fi
  first=$(od -An -N6 -tu8 /dev/urandom | tr -d ' ')
  echo "seeds from $first"
  "$sim" --first "$first" --schedules $batch --jobs "$(nproc)"
done
