# What it costs to watch many nodes in one daemon: the fifth part of benches/run.sh, which sources it.
# shellcheck shell=bash disable=SC2154  # address, tmp, cell and PG_PORT are run.sh's

NODES=100               # nodes of one daemon, each looked at once a second
NODES_SECONDS=20        # over which CPU is counted
NODES_PORT=6000         # and the hundred after it
MAX_NODES_PERCENT=5     # of one core
MAX_NODES_ANON_KIB=16384
MIN_NODES_LOOKS=95      # looks a second that must have reached PostgreSQL

ways=(socket tls)
declare -A way_title=([socket]="trust over a Unix socket" [tls]="TLS and SCRAM")

# nodes_config CONNINFO: a daemon with NODES nodes, all of which are the one PostgreSQL started here.
nodes_config() {
    local n
    cat <<CONF
[defaults]
kind = "postgres"
interval = "1s"
conninfo = "$1"
passfile = "$tmp/pgpass"

[[service]]
name = "primary"
roles = ["primary"]
CONF
    for ((n = 1; n <= NODES; n++)); do
        printf '[[node]]\nname = "pg%d"\nsource = {}\nlisten = { primary = "%s:%d" }\n' "$n" "$address" $((NODES_PORT + n))
    done
}

measure_nodes() {
    local way daemon before looks after conninfo n ports=()
    for ((n = 1; n <= NODES; n++)); do ports+=($((NODES_PORT + n))); done
    for way in "${ways[@]}"; do
        say "$NODES nodes, ${way_title[$way]}: $NODES_SECONDS s"
        case $way in
        socket) conninfo="host=$tmp/pg port=$PG_PORT dbname=rolecall user=rolecall" ;;
        tls) conninfo="host=$address port=$PG_PORT dbname=rolecall user=rolecall sslmode=verify-full sslrootcert=$tmp/ca.crt" ;;
        esac
        nodes_config "$conninfo" >"$tmp/nodes_$way.toml"
        start "nodes_$way" TERM "$ROLECALL" run --config "$tmp/nodes_$way.toml"
        daemon=$pid
        "$load" -w READY "$address" "${ports[@]}" || die "nodes_$way: $(tail -n 5 "$tmp/nodes_$way.log")"
        before=$(cpu_ns "$daemon") looks=$(sessions) after=$(date +%s%N)
        sleep "$NODES_SECONDS"
        after=$(calc "($(date +%s%N) - $after) / 1e9" "%.3f")
        cell[$way,percent]=$(calc "($(cpu_ns "$daemon") - $before) / 1e7 / $after")
        cell[$way,looks]=$(calc "($(sessions) - $looks) / $after" "%.1f")
        read -r "cell[$way,rss]" "cell[$way,anon]" < <(memory "$daemon")
        stop "$daemon"
        [[ $(at_most "$MIN_NODES_LOOKS" "${cell[$way,looks]}") == ok ]] ||
            die "${cell[$way,looks]} looks a second reached PostgreSQL, expected $NODES: $(tail -n 5 "$tmp/nodes_$way.log")"
    done
}

print_nodes() {
    local way form='%-34s %14s %14s %12s %12s\n'
    heading "5. One daemon for $NODES nodes (kind postgres, every second)"
    # shellcheck disable=SC2059
    {
        printf "$form" "" "% of a core" "looks a second" "RssAnon KiB" "RSS KiB"
        for way in "${ways[@]}"; do
            printf "$form" "${way_title[$way]}" "${cell[$way,percent]}" "${cell[$way,looks]}" "${cell[$way,anon]}" "${cell[$way,rss]}"
        done
    }
    limit "${way_title[socket]}: % of a core" "${cell[socket,percent]}" "$MAX_NODES_PERCENT"
    limit "${way_title[socket]}: RssAnon, KiB" "${cell[socket,anon]}" "$MAX_NODES_ANON_KIB"
}
