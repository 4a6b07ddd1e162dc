// Asks agent ports the way a checker does, and says how long the answers took.
//
// usage: load [-m eof|rst|line] [-n CHECKS] [-r RATE] [-c THREADS] ADDRESS PORT...
//        load -w WORD ADDRESS PORT...
//   -m eof   connect, read to the end of the stream, close (the default)
//      rst   connect, read the line, close with a reset, as HAProxy does
//      line  as eof, but a line is sent first, as HAProxy's agent-send does
//   -n       checks of each port
//   -r       checks a second of each port, each port in a thread of its own, so that a slow answer of one delays no check of another;
//            unevenly, from half the time between two to one and a half, so that they keep no step with anything that is regular
//   -c       without -r: as fast as they go, by so many threads, each with its share of the checks; the ports take turns
//   -w       wait until every port answers WORD
//
// Prints a line for each port: PORT checks ready maint lost reset p50 p99
//   lost     no whole line came: refused, reset, closed or timed out before it
//   reset    the line came, and a reset in place of the end of the stream
//   p50 p99  microseconds from the call of connect to the line. At a rate, a check that a slow one before it has delayed counts from
//            its appointed time, so that one long stall is not mistaken for one slow answer.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    PORTS = 16,
    THREADS = 64,
    LINE = 512,            // the longest answer read
    ANSWER_SECONDS = 5,    // an answer that takes longer is lost
    WAIT_SECONDS = 30,     // -w gives up after this; a server under valgrind takes seconds to start
    WAIT_STEP_US = 20000,  // and asks again after this
};

struct tally { long checks, ready, maint, lost, reset; };

struct worker {
    pthread_t thread;
    int only;  // at a rate: the one port it checks
    long checks;
    uint64_t random;
    struct tally tally[PORTS];
    int64_t *nanoseconds[PORTS];  // of each whole answer
};

static enum { END_OF_STREAM, RESET, SEND_LINE } mode = END_OF_STREAM;
static struct sockaddr_in target[PORTS];
static int ports;
static double rate;

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void sleep_until(int64_t when) {
    struct timespec t = {.tv_sec = when / 1000000000, .tv_nsec = when % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) continue;
}

// Reads until a newline has come. Returns the length of what came, newline included, or 0.
static size_t read_line(int fd, char *line) {
    size_t have = 0;
    while (have < LINE) {
        ssize_t got = recv(fd, line + have, LINE - have, 0);
        if (got <= 0) return 0;
        have += (size_t)got;
        if (line[have - 1] == '\n') return have;
    }
    return 0;
}

// One check of one port. Returns the moment the line was whole, or 0 where it was lost. `line` gets the answer without its newline.
static int64_t check(int port, char *line, struct tally *tally) {
    static const struct timeval patience = {.tv_sec = ANSWER_SECONDS};
    int64_t answered = 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        perror("socket");
        exit(1);
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    tally->checks++;
    size_t length = 0;
    if (connect(fd, (struct sockaddr *)&target[port], sizeof target[port]) == 0) {
        static const char agent_send[] = "pg1\n";
        if (mode == SEND_LINE && send(fd, agent_send, sizeof agent_send - 1, MSG_NOSIGNAL) < 0) perror("send");
        length = read_line(fd, line);
    }
    if (length == 0) tally->lost++;
    else {
        answered = now();
        line[length - 1] = '\0';
        if (!strcmp(line, "READY")) tally->ready++;
        if (!strcmp(line, "MAINT")) tally->maint++;
        if (mode == RESET) {
            static const struct linger at_once = {.l_onoff = 1};
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        } else {
            char rest[LINE];
            ssize_t got;
            while ((got = recv(fd, rest, sizeof rest, 0)) > 0) continue;
            if (got < 0) tally->reset++;
        }
    }
    close(fd);
    return answered;
}

static void check_and_time(struct worker *me, int port, int64_t start) {
    char line[LINE];
    struct tally *t = &me->tally[port];
    int64_t answered = check(port, line, t);
    if (answered) me->nanoseconds[port][t->checks - t->lost - 1] = answered - start;
}

static void *work_in_turns(void *argument) {
    struct worker *me = argument;
    for (long i = 0; i < me->checks; i++)
        for (int port = 0; port < ports; port++) check_and_time(me, port, now());
    return NULL;
}

static void *work_at_rate(void *argument) {
    struct worker *me = argument;
    int64_t gap = (int64_t)(1e9 / rate);
    int64_t begin = now();
    prctl(PR_SET_TIMERSLACK, 1);
    for (long i = 0; i < me->checks; i++) {
        me->random = me->random * 6364136223846793005u + 1442695040888963407u;
        int64_t due = begin + i * gap + (int64_t)((me->random >> 33) % (uint64_t)(gap / 2));
        if (now() < due) {
            sleep_until(due);
            due = now();
        }
        check_and_time(me, me->only, due);
    }
    return NULL;
}

static int64_t *samples(long count) {
    int64_t *room = calloc((size_t)count + 1, sizeof *room);
    if (room == NULL) {
        perror("calloc");
        exit(1);
    }
    return room;
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void report(const struct worker *workers, int threads, int port, long checks) {
    struct tally sum = {0};
    int64_t *all = samples(checks);
    long count = 0;
    for (int w = 0; w < threads; w++) {
        const struct tally *t = &workers[w].tally[port];
        long whole = t->checks - t->lost;
        memcpy(all + count, workers[w].nanoseconds[port], (size_t)whole * sizeof *all);
        count += whole;
        sum.checks += t->checks;
        sum.ready += t->ready;
        sum.maint += t->maint;
        sum.lost += t->lost;
        sum.reset += t->reset;
    }
    qsort(all, (size_t)count, sizeof *all, ascending);
    printf("%d %ld %ld %ld %ld %ld %.1f %.1f\n", ntohs(target[port].sin_port), sum.checks, sum.ready, sum.maint, sum.lost,
           sum.reset, (double)all[count / 2] / 1e3, (double)all[count * 99 / 100] / 1e3);
    free(all);
}

static int wait_for(const char *word) {
    int64_t deadline = now() + WAIT_SECONDS * INT64_C(1000000000);
    for (int port = 0; port < ports; port++) {
        char line[LINE] = "";
        struct tally ignored = {0};
        while (!check(port, line, &ignored) || strcmp(line, word)) {
            if (now() > deadline) {
                fprintf(stderr, "load: port %d did not answer %s within %d s (last answer: \"%s\")\n",
                        ntohs(target[port].sin_port), word, WAIT_SECONDS, line);
                return 1;
            }
            usleep(WAIT_STEP_US);
        }
    }
    return 0;
}

static int usage(void) {
    fprintf(stderr, "usage: load [-m eof|rst|line] [-n CHECKS] [-r RATE] [-c THREADS] ADDRESS PORT...\n"
                    "       load -w WORD ADDRESS PORT...\n");
    return 64;
}

int main(int argc, char **argv) {
    static struct worker workers[THREADS];
    const char *word = NULL;
    long checks = 1;
    int threads = 1, option;
    while ((option = getopt(argc, argv, "m:n:r:c:w:")) != -1) {
        if (option == 'm' && !strcmp(optarg, "eof")) mode = END_OF_STREAM;
        else if (option == 'm' && !strcmp(optarg, "rst")) mode = RESET;
        else if (option == 'm' && !strcmp(optarg, "line")) mode = SEND_LINE;
        else if (option == 'n') checks = atol(optarg);
        else if (option == 'r') rate = atof(optarg);
        else if (option == 'c') threads = atoi(optarg);
        else if (option == 'w') word = optarg;
        else return usage();
    }
    ports = argc - optind - 1;
    if (ports < 1 || ports > PORTS || threads < 1 || threads > THREADS || checks < threads || (threads > 1 && rate > 0))
        return usage();
    for (int i = 0; i < ports; i++) {
        target[i].sin_family = AF_INET;
        target[i].sin_port = htons((uint16_t)atoi(argv[optind + 1 + i]));
        if (inet_pton(AF_INET, argv[optind], &target[i].sin_addr) != 1) return usage();
    }
    if (word != NULL) return wait_for(word);

    if (rate > 0) threads = ports;
    for (int w = 0; w < threads; w++) {
        struct worker *worker = &workers[w];
        worker->only = w;
        worker->checks = rate > 0 ? checks : checks / threads + (w < checks % threads);
        worker->random = (uint64_t)now() + (uint64_t)w;
        for (int i = 0; i < ports; i++) worker->nanoseconds[i] = samples(worker->checks);
        if (pthread_create(&worker->thread, NULL, rate > 0 ? work_at_rate : work_in_turns, worker) != 0) {
            perror("pthread_create");
            return 1;
        }
    }
    for (int w = 0; w < threads; w++) pthread_join(workers[w].thread, NULL);
    for (int i = 0; i < ports; i++) report(workers, threads, i, checks);
    return 0;
}
