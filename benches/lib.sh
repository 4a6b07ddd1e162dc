# What benches/run.sh needs to start, measure and end processes. Sourced, not run.
# shellcheck shell=bash
#
# Everything started is in `running` until it has ended, by process id, and lives in $tmp and on an address of its own: `cleanup`, the
# trap of every exit, leaves nothing behind.

declare -A running=()   # process id -> the signal that ends it
STOP_SECONDS=10         # a process that has not ended this long after its signal is killed

tmp=$(mktemp -d "${TMPDIR:-/tmp}/rolecall-bench.XXXXXX")
chmod 711 "$tmp"        # PostgreSQL runs as another user when this one is root
# An address of the loopback network for each run, so that two runs, or a run and a real PostgreSQL, share no port.
address=127.$((64 + $$ % 64)).$(($$ / 64 % 250 + 1)).1

die() {
    echo "bench: $*" >&2
    exit 1
}

# What goes on goes to standard error, the table to standard output.
say() { printf "bench: %3d s: %s\n" "$SECONDS" "$*" >&2; }
heading() { printf '\n%s\n' "$1"; }
# limit WHAT VALUE LIMIT: a line of the table that holds a figure against its stated limit.
limit() { printf '  %-52s %8s   limit %-6s %s\n' "$1" "$2" "$3" "$(at_most "$2" "$3")"; }

# start NAME SIGNAL COMMAND...: starts COMMAND in the background, its output in $tmp/NAME.log, its process id in $pid.
start() {
    local name=$1 signal=$2
    shift 2
    "$@" >"$tmp/$name.log" 2>&1 </dev/null &
    pid=$!
    running[$pid]=$signal
}

# stop PID: ends it and waits for its end.
stop() {
    kill -s "${running[$1]}" "$1" 2>/dev/null || true
    await_end "$1"
    wait "$1" 2>/dev/null || true
    unset "running[$1]"
}

await_end() {
    local tries=$((STOP_SECONDS * 50))
    while kill -0 "$1" 2>/dev/null; do
        ((tries-- > 0)) || { kill -KILL "$1" 2>/dev/null || true; }
        sleep 0.02
    done
}

cleanup() {
    local file one
    trap '' INT TERM
    # strace keeps what it traces alive and blocks signals itself, so the traced process goes first.
    for file in "$tmp"/*.pid; do
        [[ -s $file ]] && kill -TERM "$(<"$file")" 2>/dev/null
    done
    for one in "${!running[@]}"; do kill -s "${running[$one]}" "$one" 2>/dev/null; done
    for one in "${!running[@]}"; do stop "$one"; done
    rm -rf "$tmp"
}
trap 'set +e; cleanup' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# median: of the numbers on standard input, one a line.
median() {
    sort -g | awk '{ v[NR] = $1 } END { if (!NR) exit 1; print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

# calc EXPRESSION [FORMAT]
calc() { awk "BEGIN { printf \"${2:-%.2f}\", $1 }"; }

# at_most VALUE LIMIT: ok or over.
at_most() { awk -v v="$1" -v l="$2" 'BEGIN { print v <= l ? "ok" : "over" }'; }

# cpu_ns PID: nanoseconds that its living threads have run, user and kernel.
cpu_ns() { cat /proc/"$1"/task/*/schedstat | awk '{ s += $1 } END { printf "%d\n", s }'; }

# memory PID: VmRSS and RssAnon, KiB.
memory() { awk '/^VmRSS/ { r = $2 } /^RssAnon/ { a = $2 } END { print r, a }' "/proc/$1/status"; }

# === PostgreSQL ===

# PostgreSQL refuses to run as root.
unprivileged=(env)
((EUID != 0)) || unprivileged=(setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups --)

find_postgres() {
    local newest
    newest=$(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1)
    [[ -n $newest ]] || newest=$(dirname "$(command -v initdb)") || die "no PostgreSQL server found; install the package postgresql"
    echo "$newest"
}

# A certificate authority, and a certificate of the server in its name, for its address.
make_certificates() {
    local dir=$1
    {
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=rolecall bench CA" -keyout "$dir/ca.key" -out "$dir/ca.crt"
        openssl req -newkey rsa:2048 -nodes -subj "/CN=rolecall bench" -keyout "$dir/server.key" -out "$dir/server.csr"
        printf 'subjectAltName=IP:%s\nbasicConstraints=CA:FALSE\n' "$address" >"$dir/server.ext"
        openssl x509 -req -in "$dir/server.csr" -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -CAcreateserial -days 2 \
            -extfile "$dir/server.ext" -out "$dir/server.crt"
    } >"$tmp/openssl.log" 2>&1 || die "openssl failed: $(tail -n 3 "$tmp/openssl.log")"
    chmod 600 "$dir/server.key"
    cp "$dir/ca.crt" "$tmp/ca.crt"
}

# start_postgres PORT: a primary that takes TLS with SCRAM, and rolecall by trust at its socket in $tmp/pg. Its role and database are called rolecall; $tmp/pgpass
# holds the password.
start_postgres() {
    local port=$1 bin data=$tmp/pg/data
    bin=$(find_postgres)
    mkdir "$tmp/pg"
    make_certificates "$tmp/pg"
    echo "bench-admin" >"$tmp/pg/admin"
    ((EUID != 0)) || chown -R nobody "$tmp/pg"
    "${unprivileged[@]}" "$bin/initdb" -D "$data" -U postgres --pwfile="$tmp/pg/admin" --auth=scram-sha-256 --no-sync \
        >"$tmp/initdb.log" 2>&1 || die "initdb failed: $(tail -n 3 "$tmp/initdb.log")"
    "${unprivileged[@]}" sh -c "cat >>'$data/postgresql.conf'" <<CONF
listen_addresses = '$address'
port = $port
unix_socket_directories = '$tmp/pg'
max_connections = 300
ssl = on
ssl_cert_file = '$tmp/pg/server.crt'
ssl_key_file = '$tmp/pg/server.key'
password_encryption = 'scram-sha-256'
fsync = off
autovacuum = off
CONF
    "${unprivileged[@]}" sh -c "cat >'$data/pg_hba.conf'" <<CONF
hostssl all all 127.0.0.0/8 scram-sha-256
local rolecall rolecall trust
CONF
    start postgres INT "${unprivileged[@]}" "$bin/postgres" -D "$data"
    postgres_pid=$pid
    psql_admin="$bin/psql"
    postgres_port=$port
    local tries=500
    until sql "select 1" >"$tmp/psql.log" 2>&1; do
        kill -0 "$postgres_pid" 2>/dev/null || die "PostgreSQL ended: $(tail -n 3 "$tmp/postgres.log")"
        ((tries-- > 0)) || die "PostgreSQL does not answer: $(tail -n 3 "$tmp/psql.log")"
        sleep 0.02
    done
    sql "create role rolecall login password 'bench-rolecall' in role pg_monitor" >/dev/null
    sql "create database rolecall owner rolecall" >/dev/null
    (umask 077 && echo "$address:$port:*:rolecall:bench-rolecall" >"$tmp/pgpass")
}

# sql STATEMENT: run by the administrator; in the database postgres, so that it is not among rolecall's sessions.
sql() {
    PGPASSWORD=bench-admin "$psql_admin" -XAtq -v ON_ERROR_STOP=1 \
        "host=$address port=$postgres_port dbname=postgres user=postgres sslmode=require" -c "$1"
}

# sessions: how many sessions the database rolecall has ended or begun so far.
sessions() { sql "select sessions from pg_stat_database where datname = 'rolecall'"; }
