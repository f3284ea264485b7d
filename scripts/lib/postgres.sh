# PostgreSQL, with a superuser for tests and a role with a password for trials.

# The directory of PostgreSQL's programs, which Debian keeps off the PATH.
postgres_programs() {
  local found
  found=$(command -v initdb || ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sort -V | tail -n 1)
  # The one on the PATH may be a link to where its fellows are.
  [ -n "$found" ] && dirname "$(readlink -f "$found")"
}

start_postgres() {
  local programs port password home="$SERVICES_DIR/postgres" as=()
  programs=$(postgres_programs)
  port=$(free_port)
  password=$(random_text)
  mkdir "$home"
  # It refuses to run as root, so root lends it the user that the package made.
  if [ "$(id -u)" = 0 ]; then
    chown postgres:postgres "$home"
    as=(setpriv --reuid=postgres --regid=postgres --init-groups --)
  fi
  (
    cd "$home"
    "${as[@]}" "$programs/initdb" -D "$home/data" -U postgres --auth=trust --no-sync -E UTF8 --locale=C.UTF-8 >/dev/null
    # The role that a server uses must show its password; the superuser is for tests.
    printf '%s\n' 'host all tfe all scram-sha-256' 'host all all 127.0.0.1/32 trust' 'local all all trust' \
      'host replication all 127.0.0.1/32 trust' | "${as[@]}" tee "$home/data/pg_hba.conf" >/dev/null
    "${as[@]}" "$programs/pg_ctl" -D "$home/data" -w -t "$READY_SECONDS" -l "$home/log" start >/dev/null \
      -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$home -c fsync=off -c max_connections=300"
  ) || { cat "$home/log" >&2; return 1; }
  started postgres "$(head -n 1 "$home/data/postmaster.pid")" INT
  "$programs/psql" -q -h 127.0.0.1 -p "$port" -U postgres -v ON_ERROR_STOP=1 <<SQL
CREATE ROLE tfe LOGIN PASSWORD '$password';
CREATE DATABASE tfe OWNER tfe;
CREATE DATABASE tfe_vault OWNER tfe;
SQL
  note POSTGRES_ADDRESS "127.0.0.1:$port"
  note POSTGRES_PASSWORD "$password"
  note POSTGRES_PROGRAMS "$programs"
}
