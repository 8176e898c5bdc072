#!/bin/bash
# Brings a Sheaf cluster up on several hosts over ssh, from one inventory file.
#
#   deploy/cluster.sh [--copy DIR] HOSTFILE up       starts what does not run; again: changes nothing
#   deploy/cluster.sh HOSTFILE down                  stops it; the data stays
#   deploy/cluster.sh HOSTFILE status                each host's daemons, then `sheaf status`; exit 0
#                                                    if all is well
#
#   --copy DIR   first copies the programs from DIR (as build/release/bin) to the hosts, where they
#                differ; daemons whose program changed are restarted
#   SHEAF_SSH    the ssh command and its options (ssh -o BatchMode=yes -o ConnectTimeout=10)
#
# HOSTFILE has one thing a line; '#' begins a comment. deploy/config/cluster.hosts is an example.
#
#   meta ADDRESS [port=7700] [ssh=USER@HOST]
#   storage ADDRESS disks=DIR,DIR... [domain=NAME] [port=7710] [ssh=USER@HOST]
#           [reactors=N] [buffer_mib=N] [slab_mib=N] [capacity_mib=N]
#   replicas N            copies of each chunk (3, or as many as there are storage servers)
#   chains-per-target N   (8)
#   dir DIR               on every host: configuration, logs, pid files, metadata (/var/lib/sheaf)
#   bin DIR               on every host: the programs (bin/ of `dir`, where --copy puts them, if it
#                         has them; else /usr/bin)
#
# ADDRESS is what the hosts and all clients reach one another by. A daemon uses its port and the two
# after it. `ssh` is how this script reaches the host, where that is not ADDRESS. The hosts need
# bash, and a user that may write to `dir` and the disks; nothing here asks for a password.
set -euo pipefail

readonly wait_s=60        # for a daemon to start or stop
readonly ssh_limit_s=180  # for one ssh call
read -ra ssh_command <<<"${SHEAF_SSH:-ssh -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=5}"

say() { printf '%s\n' "$*"; }
fail() {
  printf '%s\n' "cluster: error: $*" >&2
  exit 1
}
usage() {
  printf '%s\n' "cluster: error: $* (see --help)" >&2
  exit 2
}

# ---- the inventory ----

replicas=
chains_per_target=8
dir=/var/lib/sheaf
bin=
# One entry a daemon, metadata first: address, port, ssh target, configuration (TOML), disks.
addresses=() ports=() targets=() configs=() disks=()

word='^[A-Za-z0-9_./][A-Za-z0-9_./-]*$'
bad() { usage "$hostfile line $line_number: $*"; }
check_number() { # NAME VALUE MIN MAX
  if [[ ! $2 =~ ^[0-9]{1,9}$ ]] || ((10#$2 < $3 || 10#$2 > $4)); then
    bad "$1 '$2' is not a whole number from $3 to $4"
  fi
}
check_directory() { [[ $2 =~ ^/[A-Za-z0-9_.@:+/-]*$ ]] || bad "$1 '$2' is not an absolute path of plain characters"; }

# An address to listen on: the one named if it is a number, else all of the host's.
listen_on() { if [[ $1 =~ ^[0-9.]+$ ]]; then printf %s "$1"; else printf 0.0.0.0; fi; }

# Reads KEY=VALUE words into `given`; keys outside the list are errors.
parse_words() { # "KNOWN KEYS" WORD...
  local known=" $1 " each
  shift
  given=()
  for each in "$@"; do
    [[ $each == ?*=?* ]] || bad "'$each' is not KEY=VALUE"
    [[ $known == *" ${each%%=*} "* ]] || bad "unknown key '${each%%=*}'; known are$known"
    [[ ${each#*=} =~ ^[A-Za-z0-9_.@:/+,][A-Za-z0-9_.@:/+,-]*$ ]] || bad "'$each' holds characters that are not allowed"
    given[${each%%=*}]=${each#*=}
  done
}

log_table() { printf '\n[log]\nfile = "%s"\nlevel = "info"\n' "$dir/log/$1.log"; }

add_meta() { # ADDRESS WORD...
  local address=$1
  shift
  parse_words 'port ssh' "$@"
  ((${#addresses[@]} == 0)) || bad "a second meta; a cluster has one, in the first of its daemons' lines"
  local port=${given[port]:-7700}
  check_number port "$port" 1 65533
  addresses=("$address") ports=("$port") targets=("${given[ssh]:-$address}") disks=('')
  configs=("$(
    say "# Written by cluster.sh; lost at its next run."
    say "data_dir = \"$dir/meta\""
    say "listen = \"$(listen_on "$address"):$port\""
    say "metrics = \"$(listen_on "$address"):$((port + 1))\""
    say "framed = \"$(listen_on "$address"):$((port + 2))\""
    log_table "meta-$port"
  )")
}

add_storage() { # ADDRESS WORD...
  local address=$1 key each quoted=
  shift
  parse_words 'disks domain port ssh reactors buffer_mib slab_mib capacity_mib' "$@"
  ((${#addresses[@]} > 0)) || bad "storage before meta; name the metadata host first"
  [[ -n ${given[disks]:-} ]] || bad "storage $address without disks=DIR,DIR..."
  local port=${given[port]:-7710} listen
  check_number port "$port" 1 65533
  for each in "${!addresses[@]}"; do
    [[ ${addresses[each]} != "$address" ]] || ((ports[each] + 2 < port || port + 2 < ports[each])) ||
      bad "$address: port $port and the two after it meet those of another daemon there; give it another port="
  done
  for each in ${given[disks]//,/ }; do
    check_directory disk "$each"
    quoted+="${quoted:+, }\"$each\""
  done
  listen=$(listen_on "$address")
  addresses+=("$address") ports+=("$port") targets+=("${given[ssh]:-$address}") disks+=("${given[disks]//,/ }")
  configs+=("$(
    say "# Written by cluster.sh; lost at its next run."
    say "meta = \"${addresses[0]}:${ports[0]}\""
    say "targets = [$quoted]"
    say "listen = \"$listen:$port\""
    say "grpc = \"$listen:$((port + 1))\""
    say "metrics = \"$listen:$((port + 2))\""
    say "advertise = \"$address\""
    [[ -z ${given[domain]:-} ]] || say "failure_domain = \"${given[domain]}\""
    for key in reactors buffer_mib slab_mib capacity_mib; do
      [[ -z ${given[$key]:-} ]] || say "$key = ${given[$key]}"
    done
    log_table "storage-$port"
  )")
}

read_inventory() {
  local line_number=0 line words pass
  local -A given=()
  [[ -r $hostfile ]] || usage "inventory $hostfile: cannot be read"
  # Settings first, wherever they stand: the daemons' configurations hold them.
  for pass in settings daemons; do
    line_number=0
    while IFS= read -r line || [[ -n $line ]]; do
      line_number=$((line_number + 1))
      read -ra words <<<"${line%%#*}" || true
      ((${#words[@]} > 0)) || continue
      [[ ${words[0]} =~ ^(meta|storage|replicas|chains-per-target|dir|bin)$ ]] ||
        bad "unknown word '${words[0]}'; known are meta, storage, replicas, chains-per-target, dir, bin"
      ((${#words[@]} > 1)) || bad "${words[0]} without a value"
      [[ ${words[1]} =~ $word && ${words[1]} != *=* ]] || bad "'${words[1]}' holds characters that are not allowed"
      if [[ ${words[0]} =~ ^(meta|storage)$ ]]; then
        [[ $pass == settings ]] || "add_${words[0]}" "${words[@]:1}"
        continue
      fi
      ((${#words[@]} == 2)) || bad "${words[0]} takes one value"
      case ${words[0]} in
        replicas) check_number replicas "${words[1]}" 1 8 && replicas=${words[1]} ;;
        chains-per-target) check_number chains-per-target "${words[1]}" 1 1024 && chains_per_target=${words[1]} ;;
        dir) check_directory dir "${words[1]}" && dir=${words[1]} ;;
        bin) check_directory bin "${words[1]}" && bin=${words[1]} ;;
      esac
    done <"$hostfile"
  done
  ((${#addresses[@]} > 0)) || usage "inventory $hostfile: names no meta host"
  ((${#addresses[@]} > 1)) || usage "inventory $hostfile: names no storage host"
}

# The i-th daemon's kind, name and program.
kind_of() { if (($1 == 0)); then printf meta; else printf storage; fi; }
name_of() { printf '%s-%s' "$(kind_of "$1")" "${ports[$1]}"; }

# ---- what runs on a host ----

# Sent to the host's bash with these set: DIR BIN NAME PROGRAM ADDRESS PORT DISKS CONFIG WAIT ACTION.
# Prints what it did in a line that begins with a word: runs, started, restarted, stopped, down.
host_script() {
  cat <<'END'
set -eu
fail() { printf '%s\n' "$*" >&2; exit 1; }
pid_file=$DIR/run/$NAME.pid
config_file=$DIR/config/$NAME.toml
if [ -z "$BIN" ]; then
  BIN=$DIR/bin
  [ -x "$BIN/$PROGRAM" ] || BIN=/usr/bin
fi

# The daemon's pid, if the process of the pid file is that daemon. A zombie has no exe.
find_pid() {
  local pid exe
  read -r pid 2>/dev/null <"$pid_file" || return 1
  exe=$(readlink "/proc/$pid/exe" 2>/dev/null) || return 1
  exe=${exe% (deleted)}
  [ "${exe##*/}" = "$PROGRAM" ] || return 1
  tr '\0' '\n' <"/proc/$pid/cmdline" | grep -qxF "$config_file" || return 1
  printf %s "$pid"
}
last_words() { tail -n 5 "$DIR/log/$NAME.out" "$DIR/log/$NAME.log" 2>/dev/null | sed 's/^/    /'; }

check() {
  [ -x "$BIN/$PROGRAM" ] || fail "$BIN/$PROGRAM is not there; install Sheaf, name its folder with a line 'bin DIR', or give --copy DIR"
  for disk in $DISKS; do
    [ -d "$disk" ] || fail "disk $disk is not there; mount the disk, or make the directory"
    [ -w "$disk" ] || fail "disk $disk cannot be written by $(id -un); change its owner, or use another ssh user"
  done
  mkdir -p "$DIR/config" "$DIR/log" "$DIR/run" 2>/dev/null || fail "$DIR cannot be made by $(id -un); make it and give it to that user"
  [ -w "$DIR/config" ] && [ -w "$DIR/log" ] && [ -w "$DIR/run" ] || fail "$DIR cannot be written by $(id -un); change its owner"
}

stop() {
  local pid=$1 waited=0
  kill -TERM "$pid" 2>/dev/null || true
  while readlink "/proc/$pid/exe" >/dev/null 2>&1; do
    [ "$waited" -lt $((WAIT * 10)) ] || fail "$NAME (pid $pid) did not stop within $WAIT s; look into $DIR/log/$NAME.log, or end it with kill -9 $pid"
    sleep 0.1
    waited=$((waited + 1))
  done
  rm -f "$pid_file"
}

answers() { (exec 3<>"/dev/tcp/$ADDRESS/$PORT") 2>/dev/null; }

start() {
  local pid waited=0
  : >"$DIR/log/$NAME.out"
  (cd / && exec setsid "$BIN/$PROGRAM" --config "$config_file" </dev/null >>"$DIR/log/$NAME.out" 2>&1 9>&-) &
  pid=$!
  printf '%s\n' "$pid" >"$pid_file"
  until answers; do
    kill -0 "$pid" 2>/dev/null && [ "$waited" -lt $((WAIT * 10)) ] || break
    sleep 0.1
    waited=$((waited + 1))
  done
  if ! find_pid >/dev/null || ! answers; then
    kill -TERM "$pid" 2>/dev/null || true
    rm -f "$pid_file"
    fail "$NAME did not start:
$(last_words)"
  fi
  printf '%s (pid %s)\n' "$1" "$pid"
}

up() {
  local pid changed=
  check
  if [ "$(cat "$config_file" 2>/dev/null)" != "$CONFIG" ]; then
    printf '%s\n' "$CONFIG" >"$config_file.new"
    mv "$config_file.new" "$config_file"
    changed="its configuration changed"
  fi
  pid=$(find_pid) || { start started; return; }
  case $(readlink "/proc/$pid/exe") in *' (deleted)') changed="its program changed" ;; esac
  if [ -z "$changed" ]; then
    printf 'runs (pid %s)\n' "$pid"
    return
  fi
  stop "$pid"
  start "restarted, since $changed"
}

down() {
  local pid
  pid=$(find_pid) || { printf 'down\n'; return; }
  stop "$pid"
  printf 'stopped\n'
}

status() {
  local pid
  pid=$(find_pid) || { printf 'down\n'; return; }
  printf 'runs (pid %s)\n' "$pid"
}

# Two of these scripts at once take turns on a host.
if [ "$ACTION" != status ] && [ "$ACTION" != check ] && [ -d "$DIR/run" ]; then
  exec 9>"$DIR/run/lock"
  flock -w "$WAIT" 9 || fail "another cluster.sh works on this host; wait for it to end"
fi
"$ACTION"
END
}

# Runs a command on the i-th daemon's host, with our standard input.
on_host() { # I COMMAND...
  local i=$1
  shift
  timeout "$ssh_limit_s" "${ssh_command[@]}" "${targets[i]}" "$@"
}

# Runs an action of host_script for the i-th daemon; its line goes to standard output.
act() { # I ACTION
  local i=$1 action=$2 program line status=0 complaint
  program=sheaf-$(kind_of "$i")
  complaint=$(mktemp "$work/complaint.XXXXXX")
  line=$({
    printf '%s=%q\n' DIR "$dir" BIN "$bin" NAME "$(name_of "$i")" PROGRAM "$program" ADDRESS "${addresses[i]}" \
      PORT "${ports[i]}" DISKS "${disks[i]}" CONFIG "${configs[i]}" WAIT "$wait_s" ACTION "$action"
    host_script
  } | on_host "$i" bash -s 2>"$complaint") || status=$?
  if ((status == 0)); then
    [[ -z $line ]] || say "${addresses[i]} $(name_of "$i"): $line"
    return
  fi
  complain "$i" "$status" "$complaint"
}

# Says on standard error what went wrong with the i-th daemon's host.
complain() { # I STATUS FILE
  local text
  text=$(cat "$3")
  case $2 in
    124) text="no end within $ssh_limit_s s; look at the host" ;;
    255) text="cannot be reached by '${ssh_command[*]} ${targets[$1]}': ${text##*$'\n'}; check the host, its ssh server and your key" ;;
  esac
  printf '%s\n' "cluster: error: ${addresses[$1]} $(name_of "$1"): ${text:-failed with exit code $2}" >&2
  return 1
}

# An action for several daemons at once; fails if any does, when all have ended. Output by daemon.
act_all() { # ACTION I...
  local action=$1 i failed=0
  local -A job=()
  shift
  for i in "$@"; do
    act "$i" "$action" >"$work/out.$i" 2>"$work/err.$i" &
    job[$i]=$!
  done
  for i in "$@"; do
    wait "${job[$i]}" || failed=1
    tee -a "$work/done" <"$work/out.$i"
    cat "$work/err.$i" >&2
  done
  return "$failed"
}

# Copies a program to the i-th daemon's host unless the same is there.
copy_program() { # I PROGRAM
  local i=$1 program=$2 sum there status=0 complaint
  complaint=$(mktemp "$work/complaint.XXXXXX")
  sum=$(sha256sum <"$copy_from/$program")
  there=$(on_host "$i" "sha256sum <$bin/$program 2>/dev/null || true" </dev/null 2>"$complaint") || status=$?
  if ((status == 0)) && [[ $there != "$sum" ]]; then
    # Beside it, then in its place: one that runs is not written to.
    on_host "$i" "mkdir -p $bin && cat >$bin/.$program.new && chmod 755 $bin/.$program.new && mv $bin/.$program.new $bin/$program" \
      <"$copy_from/$program" 2>"$complaint" || status=$?
    ((status != 0)) || say "${addresses[i]} $program: copied"
  fi
  ((status == 0)) || complain "$i" "$status" "$complaint"
}

copy_all() {
  local i
  for program in sheaf sheaf-meta sheaf-storage; do
    [[ -x $copy_from/$program ]] || usage "--copy $copy_from: no program $program there; build it first"
  done
  for i in "${!addresses[@]}"; do
    copy_program "$i" "sheaf-$(kind_of "$i")" | tee -a "$work/done"
  done
  copy_program 0 sheaf | tee -a "$work/done"
}

# The `sheaf` command on the metadata host.
# shellcheck disable=SC2016  # what stands in single quotes is for the host's shell
sheaf() {
  local status=0
  {
    printf 'program=%q\n' "${bin:-$dir/bin}/sheaf"
    [[ -n $bin ]] || say '[ -x "$program" ] || program=/usr/bin/sheaf'
    printf 'exec "$program"'
    printf ' %q' "$@" --meta "${addresses[0]}:${ports[0]}"
  } | on_host 0 bash -s 2>"$work/sheaf.err" || status=$?
  ((status == 0)) || complain 0 "$status" "$work/sheaf.err"
}

# ---- the verbs ----

cluster_up() {
  local storage=("${!addresses[@]}")
  [[ -z $copy_from ]] || copy_all
  # All are looked at before anything is started.
  act_all check "${!addresses[@]}" || fail "nothing was started; mend the above and run this again"
  act_all up 0 || exit 1
  act_all up "${storage[@]:1}" || fail "what started goes on; mend the above and run this again"
  # Chains are laid over all the targets there are, so all storage servers must have come.
  sheaf chain create ${replicas:+--replicas "$replicas"} --chains-per-target "$chains_per_target" \
    --nodes $((${#addresses[@]} - 1)) --wait "$wait_s" >"$work/chains" ||
    fail "the daemons run, but the cluster has no chains as asked for; mend the above and run this again"
  if grep -q '^created' "$work/chains"; then
    say "chains: $(cat "$work/chains")"
  elif ! grep -qv ': runs (pid' "$work/done"; then
    say "nothing to do: all daemons run"
  fi
  say "mount it with: sheaf mount --meta ${addresses[0]}:${ports[0]} DIR"
}

cluster_down() {
  local storage=("${!addresses[@]}") failed=0
  act_all down "${storage[@]:1}" || failed=1
  ((failed == 0)) || fail "the metadata service was left running; mend the above and run this again"
  act_all down 0 || exit 1
}

cluster_status() {
  local failed=0
  act_all status "${!addresses[@]}" || failed=1
  ! grep -q ': down$' "$work/done" || failed=1
  if grep -q '^[^:]* meta-[0-9]*: runs' "$work/done"; then
    say
    sheaf status >"$work/status" || failed=1
    cat "$work/status"
    grep -q '^health *ok$' "$work/status" || failed=1
  fi
  return "$failed"
}

copy_from=
hostfile=
verb=
while (($# > 0)); do
  case $1 in
    -h | --help)
      sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p}' "$0"
      exit 0
      ;;
    --copy)
      [[ -n ${2:-} ]] || usage "--copy without a folder"
      copy_from=$2
      shift
      ;;
    -*) usage "unknown option $1" ;;
    *)
      if [[ -z $hostfile ]]; then
        hostfile=$1
      elif [[ -z $verb ]]; then
        verb=$1
      else
        usage "unknown argument $1"
      fi
      ;;
  esac
  shift
done
[[ -n $hostfile ]] || usage "no inventory file given"
[[ $verb =~ ^(up|down|status)$ ]] || usage "${verb:-no verb given}: not one of up, down, status"
[[ -z $copy_from || $verb == up ]] || usage "--copy goes with up"
read_inventory
[[ -z $copy_from ]] || bin=${bin:-$dir/bin}
command -v "${ssh_command[0]}" >/dev/null || fail "${ssh_command[0]} is not installed; install it, or set SHEAF_SSH"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
: >"$work/done"
"cluster_$verb"
