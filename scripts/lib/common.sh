# What the services' scripts share.

fail() {
  echo "error: $*" >&2
  exit 1
}

require() {
  command -v "$1" >/dev/null || fail "$1 is needed; $2"
}

# A port that nobody listens on now.
free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Letters and digits that nobody can guess.
random_text() {
  python3 -c 'import secrets; print(secrets.token_hex(20))'
}

# Installs Debian packages that are missing. One apt at a time; another one may be at work, so try for a while.
install_packages() {
  local tries=0 log
  log=$(mktemp)
  until apt-get install -y --no-install-recommends "$@" >"$log" 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 5 ] || { cat "$log" >&2; fail "these packages could not be installed: $*"; }
    apt-get update >/dev/null 2>&1 || sleep 3
  done
  rm -f "$log"
}

# install_from_pypi DIRECTORY PACKAGE==VERSION: into a virtual environment in the cache.
install_from_pypi() {
  local home="$SERVICES_CACHE/$1"
  [ -f "$home/$2" ] && return
  rm -rf "$home"
  python3 -m venv "$home"
  "$home/bin/pip" install --quiet --disable-pip-version-check "$2" || fail "$2 could not be installed from PyPI"
  touch "$home/$2"
}

# Notes a value for those who use the services: note NAME VALUE.
note() {
  printf "%s='%s'\n" "$1" "${2//\'/\'\\\'\'}" >>"$SERVICES_DIR/environment"
}

# Notes a process to end: started NAME PID [SIGNAL]. A pid alone could be another process's one day, so the time of its
# start is noted too.
started() {
  echo "$1 $2 $(start_of "$2") ${3-TERM}" >>"$SERVICES_DIR/processes"
}

# When a process began, in ticks since boot.
start_of() {
  sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20
}

end_process() {
  local pid=$1 began=$2 signal=$3 tenths=0
  [ "$(start_of "$pid")" = "$began" ] || return 0
  kill -s "$signal" "$pid" 2>/dev/null || return 0
  while [ "$(start_of "$pid")" = "$began" ] && ! is_zombie "$pid"; do
    tenths=$((tenths + 1))
    [ "$tenths" -lt "$END_TENTHS" ] || { kill -s KILL "$pid" 2>/dev/null || true; return 0; }
    sleep 0.1
  done
}

is_zombie() {
  grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null
}

# until_ready NAME LOG COMMAND...: waits until the command succeeds.
until_ready() {
  local name=$1 log=$2 deadline=$((SECONDS + READY_SECONDS))
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || { tail -n 20 "$log" >&2; fail "$name is not ready after $READY_SECONDS seconds"; }
    sleep 0.05
  done
}
