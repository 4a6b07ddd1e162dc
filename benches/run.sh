#!/usr/bin/env bash
# What rolecall costs, beside the least it could cost: `make bench`.
#
# Prints one table and passes or fails nothing: on a busy machine every time is wrong, so judge by the ratios (measured side by side, in
# turns, in this one run) and by the counts (exact). A figure with a stated limit has the limit and "ok" or "over" beside it.
# It ends with an error only where something could not be measured, or a daemon gave another answer than the scene calls for.
#
# ROLECALL=PATH measures that program in place of the one built here. ROUNDS=N takes N rounds of everything that is timed (default 16).
# PARTS="nodes" runs that part alone.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source-path=SCRIPTDIR
source benches/lib.sh
# shellcheck source-path=SCRIPTDIR
source benches/nodes.sh

ROUNDS=${ROUNDS:-16}
PARTS=${PARTS:-check memory ill looks nodes}
CPU_CHECKS=4000         # checks of one responder in one round
ALONE=50                # checks a second where each is to be alone
BASE=20                 # checks of the first of two counts of instructions or system calls: start-up, first allocations
COUNTED=200             # more checks of the second, where each is alone
BURST=3000              # and where they come
ABREAST=16              # so many at a time
TAIL=0.3                # seconds until a responder has closed the last connections
LINES=500               # checks that send a line first
RATE=200                # checks a second of each daemon where answers are timed
SECONDS_A_ROUND=3       # of timed answers
FEW=1000 MANY=100000    # checks between which the memory may grow
PG_PORT=5432 PATRONI_HEALTHY=8008 PATRONI_HUNG=8009 PATRONI_DRIP=8010 PATRONI_NONE=8011   # ports of the address of this run

MIN_LOOKS=45            # looks a second that must have reached PostgreSQL for a figure under 50 of them

# The stated limits.
MAX_INSTRUCTIONS=2500 MAX_SYSCALLS=9 MAX_ANON_KIB=5120 MAX_GROWTH_KIB=256 MAX_ILL_RATIO=1.5 MAX_LOOKS_RATIO=2

for tool in gcc valgrind strace openssl cargo; do
    command -v "$tool" >/dev/null || die "$tool is not installed; tests/tools/install.sh bench installs what Debian has"
done

# === Build ===

for source in epoll load fake_patroni; do
    gcc -std=gnu17 -O2 -Wall -Wextra -Werror -pthread -o "$tmp/$source" "benches/$source.c"
done
cargo build --release --locked --quiet --example tokio_plain
target=${CARGO_TARGET_DIR:-target}/release
if [[ -z ${ROLECALL:-} ]]; then
    cargo build --release --locked --quiet --bin rolecall
    ROLECALL=$target/rolecall
fi
load=$tmp/load

# configure NAME PORT, sources on standard input: writes $tmp/NAME.toml, a daemon with one service.
configure() {
    { cat && printf '\n[[service]]\nname = "primary"\nroles = ["primary"]\nlisten = "%s"\n' "$address:$2"; } >"$tmp/$1.toml"
}

# start_rolecall NAME PORT ANSWER, sources on standard input: starts a daemon and waits until it gives ANSWER.
start_rolecall() {
    configure "$1" "$2"
    start "$1" TERM "$ROLECALL" run --config "$tmp/$1.toml"
    "$load" -w "$3" "$address" "$2" || die "$1: $(tail -n 5 "$tmp/$1.log")"
}

# === 1. One check ===

responders=(c tokio rolecall)
declare -A title=([c]="C, epoll, static reply" [tokio]="tokio, a task per check" [rolecall]="rolecall, static source")
declare -A port=([c]=5551 [tokio]=5552 [rolecall]=5555) pid_of=() cell=()   # cell: RESPONDER,COLUMN -> figure

# One look, at the start: none is counted among the checks.
configure static "${port[rolecall]}" <<CONF
[source]
kind = "static"
role = "primary"
interval = "1h"
CONF

# command_of RESPONDER: its command line in the array `command`.
command_of() {
    case $1 in
    c) command=("$tmp/epoll" "$address" "${port[c]}") ;;
    tokio) command=("$target/examples/tokio_plain" "$address:${port[tokio]}") ;;
    rolecall) command=("$ROLECALL" run --config "$tmp/static.toml") ;;
    esac
}

# count instructions|syscalls RESPONDERS LOAD-OPTIONS...: sets counted[RESPONDER] to all that each has done from its start to its end
# under that load. Several run at the same time.
count() {
    local what=$1 among=$2 who log tools=() ports=() tool
    shift 2
    for who in $among; do
        command_of "$who"
        log=$who-$what
        case $what in
        instructions)
            start "$log" TERM valgrind --tool=callgrind --callgrind-out-file=/dev/null --log-file="$tmp/$who.count" "${command[@]}" ;;
        syscalls)
            # The shell says which process strace follows. It is that one that has to be ended.
            # shellcheck disable=SC2016
            start "$log" TERM strace --follow-forks --summary-only --output="$tmp/$who.count" \
                sh -c 'echo $$ >"$0" && exec "$@"' "$tmp/$who.pid" "${command[@]}" ;;
        esac
        tools+=("$pid") ports+=("${port[$who]}")
    done
    "$load" -w READY "$address" "${ports[@]}" || die "counting $what: $(tail -n 5 "$tmp/"*-"$what.log")"
    "$load" "$@" "$address" "${ports[@]}" >"$tmp/load.out"
    sleep "$TAIL"
    for who in $among; do
        tool=${tools[0]} tools=("${tools[@]:1}")
        if [[ $what == syscalls ]]; then
            kill -TERM "$(<"$tmp/$who.pid")"
            await_end "$tool"
            rm "$tmp/$who.pid"
        fi
        stop "$tool"
        case $what in
        instructions) counted[$who]=$(awk '/Collected *:/ { print $NF }' "$tmp/$who.count") ;;
        syscalls) counted[$who]=$(awk '$1 ~ /^[0-9.]+$/ && $NF != "total" { n += $4 } END { print n }' "$tmp/$who.count") ;;
        esac
        [[ ${counted[$who]} =~ ^[1-9][0-9]*$ ]] || die "$who: no count of $what in: $(tail -n 5 "$tmp/$who.count")"
    done
}

# per_check MODE instructions|syscalls RESPONDERS CHECKS LOAD-OPTIONS...: fills the cells RESPONDER,WHAT,MODE with the difference of two
# runs over that of their checks, so that what starting and stopping take cancels out.
per_check() {
    local mode=$1 what=$2 among=$3 checks=$4 who
    local -A counted=() base=()
    shift 4
    count "$what" "$among" "$@" -n "$BASE"
    for who in $among; do base[$who]=${counted[$who]}; done
    count "$what" "$among" "$@" -n $((BASE + checks))
    for who in $among; do cell[$who,$what,$mode]=$(calc "(${counted[$who]} - ${base[$who]}) / $checks"); done
}

measure_check() {
    local who what round before after
    say "one check: CPU"
    for who in "${responders[@]}"; do
        command_of "$who"
        start "$who" TERM "${command[@]}"
        pid_of[$who]=$pid
        "$load" -w READY "$address" "${port[$who]}" || die "$who: $(tail -n 5 "$tmp/$who.log")"
        "$load" -n "$FEW" "$address" "${port[$who]}" >"$tmp/load.out"
    done
    for ((round = 0; round < ROUNDS; round++)); do
        for who in "${responders[@]}"; do
            before=$(cpu_ns "${pid_of[$who]}")
            "$load" -n "$CPU_CHECKS" "$address" "${port[$who]}" >>"$tmp/answers.$who"
            after=$(cpu_ns "${pid_of[$who]}")
            calc "($after - $before) / $CPU_CHECKS / 1000" "%.3f\n" >>"$tmp/cpu.$who"
        done
    done
    for who in "${responders[@]}"; do
        paste "$tmp/cpu.$who" "$tmp/cpu.c" | awk '{ print $1 / $2 }' >"$tmp/ratio.$who"
        cell[$who,ratio]=$(median <"$tmp/ratio.$who")
        cell[$who,cpu]=$(median <"$tmp/cpu.$who")
        cell[$who,lost]=$(awk '{ n += $5 + $6 } END { print n }' "$tmp/answers.$who")
        cell[$who,p50]=$(awk '{ print $7 }' "$tmp/answers.$who" | median)
        cell[$who,p99]=$(awk '{ print $8 }' "$tmp/answers.$who" | median)
        read -r "cell[$who,rss]" "cell[$who,anon]" < <(memory "${pid_of[$who]}")
        cell[$who,resets]=$("$load" -m line -n "$LINES" "$address" "${port[$who]}" | awk '{ print $5 + $6 }')
    done
    for who in "${responders[@]}"; do stop "${pid_of[$who]}"; done

    for what in instructions syscalls; do
        say "one check: $what"
        per_check alone "$what" "${responders[*]}" "$COUNTED" -m eof -r "$ALONE"
        per_check reset "$what" "${responders[*]}" "$COUNTED" -m rst -r "$ALONE"
        for who in "${responders[@]}"; do per_check abreast "$what" "$who" "$BURST" -m eof -c "$ABREAST"; done
    done
}

print_check() {
    local who mode form='%-24s %6s %6s  %7s %7s %7s  %7s %7s %7s  %5s %5s %6s %7s %7s\n'
    heading "1. One check: connect, read the line and on to the end of the stream, close"
    # shellcheck disable=SC2059
    {
        printf "$form" "" CPU CPU "user in" "structi" "ons" "" "system" "calls" p50 p99 RSS RssAnon resets
        printf "$form" "" "x C" us alone reset "x $ABREAST" alone reset "x $ABREAST" us us KiB KiB "of $LINES"
        for who in "${responders[@]}"; do
            printf "$form" "${title[$who]}" "$(calc "${cell[$who,ratio]}")" "$(calc "${cell[$who,cpu]}" %.1f)" \
                "$(calc "${cell[$who,instructions,alone]}" %.0f)" "$(calc "${cell[$who,instructions,reset]}" %.0f)" \
                "$(calc "${cell[$who,instructions,abreast]}" %.0f)" \
                "${cell[$who,syscalls,alone]}" "${cell[$who,syscalls,reset]}" "${cell[$who,syscalls,abreast]}" \
                "$(calc "${cell[$who,p50]}" %.0f)" "$(calc "${cell[$who,p99]}" %.0f)" \
                "${cell[$who,rss]}" "${cell[$who,anon]}" "${cell[$who,resets]}"
            ((cell[$who,lost] == 0)) || echo "  ${cell[$who,lost]} of $((ROUNDS * CPU_CHECKS)) checks of ${title[$who]} failed"
        done
    }
    cat <<NOTE
  CPU, p50, p99: $CPU_CHECKS checks, each begun when the one before has ended; median of $ROUNDS rounds in turns, the ratio within a
  round; CPU is user and kernel. instructions: callgrind, every thread. system calls: strace, every thread. alone: about
  $ALONE a second, so that nothing is shared between two checks. reset: the same, but the client resets once it has its line,
  as HAProxy does. x $ABREAST: by $ABREAST clients at a time, as fast as they go. resets: of checks that send a line first, as HAProxy's
  agent-send does, those that ended in a reset or without an answer.
NOTE
    for mode in abreast alone; do
        limit "user instructions per check, lingering, $mode" "$(calc "${cell[rolecall,instructions,$mode]}" %.0f)" "$MAX_INSTRUCTIONS"
        limit "system calls per check, lingering, $mode" "${cell[rolecall,syscalls,$mode]}" "$MAX_SYSCALLS"
    done
}

# === 2. Memory ===

# postgres_source HEADER: a look at the PostgreSQL started here, with TLS, its certificate verified, and SCRAM.
postgres_source() {
    cat <<CONF
$1
kind = "postgres"
interval = "100ms"
conninfo = "host=$address port=$PG_PORT dbname=rolecall user=rolecall sslmode=verify-full sslrootcert=$tmp/ca.crt"
passfile = "$tmp/pgpass"
CONF
}

# patroni_source HOST:PORT
patroni_source() {
    cat <<CONF
[source]
kind = "patroni"
interval = "100ms"
url = "http://$1"
CONF
}

measure_memory() {
    local kind rss anon batch batches=9 mode
    local -A daemon=() at=([postgres]=5561 [patroni]=5562)
    say "memory: $MANY checks while polling"
    start_rolecall memory_postgres "${at[postgres]}" READY < <(postgres_source "[source]")
    daemon[postgres]=$pid
    start_rolecall memory_patroni "${at[patroni]}" READY < <(patroni_source "$address:$PATRONI_HEALTHY")
    daemon[patroni]=$pid
    "$load" -n "$FEW" "$address" "${at[postgres]}" "${at[patroni]}" >"$tmp/load.out"
    for kind in "${!daemon[@]}"; do
        read -r rss anon < <(memory "${daemon[$kind]}")
        cell[$kind,few]=$anon cell[$kind,most]=$anon
    done
    for ((batch = 0; batch < batches; batch++)); do
        mode=$( ((batch % 2)) && echo rst || echo eof)
        "$load" -m "$mode" -n $(((MANY - FEW) / batches)) "$address" "${at[postgres]}" "${at[patroni]}" >"$tmp/load.out"
        for kind in "${!daemon[@]}"; do
            read -r rss anon < <(memory "${daemon[$kind]}")
            cell[$kind,rss]=$rss cell[$kind,many]=$anon
            ((anon <= cell[$kind,most])) || cell[$kind,most]=$anon
        done
    done
    for kind in "${!daemon[@]}"; do stop "${daemon[$kind]}"; done
}

print_memory() {
    local kind form='%-34s %12s %12s %12s %12s\n'
    heading "2. Memory while polling every 100 ms, KiB"
    # shellcheck disable=SC2059
    {
        printf "$form" "" "RssAnon at" "RssAnon at" "RssAnon" "RSS"
        printf "$form" "" "$FEW checks" "$MANY" "at most" "at $MANY"
        for kind in postgres patroni; do
            printf "$form" "$kind$([[ $kind == postgres ]] && echo ", TLS and SCRAM")" "${cell[$kind,few]}" "${cell[$kind,many]}" \
                "${cell[$kind,most]}" "${cell[$kind,rss]}"
        done
    }
    for kind in postgres patroni; do
        limit "$kind: RssAnon at most, KiB" "${cell[$kind,most]}" "$MAX_ANON_KIB"
        limit "$kind: growth from $FEW to $MANY checks, KiB" $((cell[$kind,many] - cell[$kind,few])) "$MAX_GROWTH_KIB"
    done
}

# === 3. Answers while the source is ill ===

# The second healthy one shows how far from 1 the noise of the machine takes a ratio.
scenes=(healthy twin hung refused dripping unresolvable)
declare -A url=([healthy]=$address:$PATRONI_HEALTHY [twin]=$address:$PATRONI_HEALTHY [hung]=$address:$PATRONI_HUNG
    [refused]=$address:$PATRONI_NONE [dripping]=$address:$PATRONI_DRIP [unresolvable]=nosuch.invalid:8008)

measure_ill() {
    local round index scene answer after before=() ports=() pids=() at=5571
    say "answers while the source is ill: $ROUNDS rounds of $SECONDS_A_ROUND s"
    for scene in "${scenes[@]}"; do
        answer=MAINT
        [[ $scene != healthy && $scene != twin ]] || answer=READY
        start_rolecall "ill_$scene" "$at" "$answer" < <(patroni_source "${url[$scene]}")
        ports+=("$at") pids+=("$pid")
        ((at++))
    done
    for index in "${!scenes[@]}"; do before[index]=$(cpu_ns "${pids[index]}"); done
    for ((round = 0; round < ROUNDS; round++)); do
        "$load" -r "$RATE" -n $((RATE * SECONDS_A_ROUND)) "$address" "${ports[@]}" >"$tmp/load.out"
        for index in "${!scenes[@]}"; do
            sed -n "$((index + 1))p" "$tmp/load.out" >>"$tmp/ill.${scenes[index]}"
        done
    done
    for index in "${!scenes[@]}"; do
        scene=${scenes[index]}
        after=$(cpu_ns "${pids[index]}")
        cell[$scene,cpu]=$(calc "($after - ${before[index]}) / 1e6 / $((ROUNDS * SECONDS_A_ROUND))" %.1f)
        stop "${pids[index]}"
        paste "$tmp/ill.$scene" "$tmp/ill.healthy" | awk '{ print $8 / $16 }' >"$tmp/ill_ratio.$scene"
        cell[$scene,ratio]=$(median <"$tmp/ill_ratio.$scene")
        cell[$scene,p50]=$(awk '{ print $7 }' "$tmp/ill.$scene" | median)
        cell[$scene,p99]=$(awk '{ print $8 }' "$tmp/ill.$scene" | median)
        awk -v scene="$scene" '{ n += $2; ready += $3; maint += $4 }
            END {
                if ((scene ~ /healthy|twin/ ? ready : maint) == n) exit
                print scene ": " ready " READY, " maint " MAINT of " n
                exit 1
            }' \
            "$tmp/ill.$scene" >"$tmp/wrong" || die "a wrong answer while Patroni is $(<"$tmp/wrong")"
    done
}

print_ill() {
    local scene form='%-34s %8s %8s %12s %14s\n'
    heading "3. Answers while the source (patroni, every 100 ms) is ill: $RATE checks a second of each daemon"
    # shellcheck disable=SC2059
    {
        printf "$form" "" "p50 us" "p99 us" "p99 x well" "CPU ms/s"
        for scene in "${scenes[@]}"; do
            printf "$form" "$([[ $scene == twin ]] && echo "healthy, another one" || echo "$scene")" \
                "$(calc "${cell[$scene,p50]}" %.0f)" "$(calc "${cell[$scene,p99]}" %.0f)" "$(calc "${cell[$scene,ratio]}")" "${cell[$scene,cpu]}"
        done
    }
    for scene in "${scenes[@]:2}"; do
        limit "$scene: p99 x p99 while healthy" "$(calc "${cell[$scene,ratio]}")" "$MAX_ILL_RATIO"
    done
}

# === 4. Answers under many expensive looks ===

# timed_pair PHASE PORT: one round of timed answers of the C responder and of the daemon at PORT, a line more in $tmp/PHASE.c and
# $tmp/PHASE.rolecall.
timed_pair() {
    "$load" -r "$RATE" -n $((RATE * SECONDS_A_ROUND)) "$address" "${port[c]}" "$2" >"$tmp/load.out"
    sed -n 1p "$tmp/load.out" >>"$tmp/$1.c"
    sed -n 2p "$tmp/load.out" >>"$tmp/$1.rolecall"
}

measure_looks() {
    local round who phase idle busy c before at_idle=5581 at_busy=5582
    say "answers under 50 TLS and SCRAM looks a second: $ROUNDS rounds of twice $SECONDS_A_ROUND s"
    command_of c
    start c TERM "${command[@]}"
    c=$pid
    start_rolecall looks_idle "$at_idle" READY < <(printf '[source]\nkind = "static"\nrole = "primary"\n')
    idle=$pid
    for ((round = 0; round < ROUNDS; round++)); do
        timed_pair idle "$at_idle"
        start_rolecall looks_busy "$at_busy" READY < <(for _ in 1 2 3 4 5; do postgres_source "[[source]]"; done)
        busy=$pid
        before=$(sessions)
        timed_pair busy "$at_busy"
        calc "($(sessions) - $before) / $SECONDS_A_ROUND" "%.1f\n" >>"$tmp/looks"
        stop "$busy"
    done
    stop "$idle"
    stop "$c"
    cell[looks]=$(median <"$tmp/looks")
    [[ $(at_most "$MIN_LOOKS" "${cell[looks]}") == ok ]] ||
        die "${cell[looks]} looks a second reached PostgreSQL, expected 50: $(tail -n 5 "$tmp/looks_busy.log")"
    for who in c rolecall; do
        for phase in idle busy; do
            cell[$who,$phase]=$(awk '{ print $8 }' "$tmp/$phase.$who" | median)
            awk '{ n += $2; ready += $3 } END { if (ready != n) { print ready " READY of " n; exit 1 } }' "$tmp/$phase.$who" \
                >"$tmp/wrong" || die "$who, $phase: $(<"$tmp/wrong")"
        done
        paste "$tmp/busy.$who" "$tmp/idle.$who" | awk '{ print $8 / $16 }' >"$tmp/looks_ratio.$who"
        cell[$who,looks_ratio]=$(median <"$tmp/looks_ratio.$who")
    done
}

print_looks() {
    local who form='%-34s %10s %10s %12s\n'
    heading "4. Answers under TLS and SCRAM looks (5 sources of kind postgres, every 100 ms): ${cell[looks]} looks a second"
    # shellcheck disable=SC2059
    {
        printf "$form" "" "p99 idle us" "p99 busy us" "busy x idle"
        for who in rolecall c; do
            printf "$form" "$([[ $who == c ]] && echo "C, which looks at nothing" || echo rolecall)" "$(calc "${cell[$who,idle]}" %.0f)" \
                "$(calc "${cell[$who,busy]}" %.0f)" "$(calc "${cell[$who,looks_ratio]}")"
        done
    }
    echo "  The PostgreSQL that is looked at shares these cores: C's ratio is what that alone does to an answer."
    limit "p99 under looks x p99 idle" "$(calc "${cell[rolecall,looks_ratio]}")" "$MAX_LOOKS_RATIO"
    printf '  %-52s %8s\n' "the same over C's" "$(calc "${cell[rolecall,looks_ratio]} / ${cell[c,looks_ratio]}")"
}

# === The run ===

start_postgres "$PG_PORT"
start patroni_healthy TERM "$tmp/fake_patroni" "$address" "$PATRONI_HEALTHY" healthy
start patroni_hung TERM "$tmp/fake_patroni" "$address" "$PATRONI_HUNG" hang
start patroni_drip TERM "$tmp/fake_patroni" "$address" "$PATRONI_DRIP" drip
for part in $PARTS; do "measure_$part"; done

echo "$("$ROLECALL" --version), $(nproc) x $(awk -F ': ' '/^model name/ { print $2; exit }' /proc/cpuinfo), Linux $(uname -r)," \
    "load $(cut -d ' ' -f 1 /proc/loadavg), PostgreSQL $(sql "show server_version" | cut -d ' ' -f 1), $(valgrind --version), $SECONDS s"
for part in $PARTS; do "print_$part"; done
