// A stand-in for Patroni's REST API, well or ill: `GET` of anything is answered as a primary's `GET /primary`.
//
// usage: fake_patroni ADDRESS PORT healthy|hang|drip
//   healthy  the whole answer at once
//   hang     the request is read, nothing is ever said
//   drip     the answer, one byte a second
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// The body Patroni 4 gives for a leader, with the keys that rolecall reads and a few that it does not.
#define SEEN "\"dcs_last_seen\": "
static const char BODY[] =
    "{\"state\": \"running\", \"postmaster_start_time\": \"2025-01-01 00:00:00.000000+00:00\", \"role\": \"primary\", "
    "\"server_version\": 150014, \"xlog\": {\"location\": 67109200}, \"timeline\": 1, "
    SEEN "1735689600, \"database_system_identifier\": \"7400000000000000000\", "
    "\"patroni\": {\"version\": \"4.0.4\", \"scope\": \"bench\", \"name\": \"n1\"}}";

enum {
    BACKLOG = 128,
    REQUEST = 4096,     // the request is read up to its empty line, or this far
    STACK = 64 * 1024,  // bytes of stack for the thread of one connection
};

static enum { HEALTHY, HANG, DRIP } mode;
static char response[sizeof BODY + 256];
static size_t response_len;
static size_t seen_at;  // where the digits of dcs_last_seen are

static void die(const char *what) {
    perror(what);
    exit(1);
}

// Returns 0 when the client left before its request was whole.
static int read_request(int client) {
    char request[REQUEST + 1];
    size_t have = 0;
    while (have < REQUEST) {
        ssize_t got = read(client, request + have, REQUEST - have);
        if (got <= 0) return 0;
        have += (size_t)got;
        request[have] = '\0';
        if (strstr(request, "\r\n\r\n")) return 1;
    }
    return 1;
}

static void drip(int client) {
    for (size_t i = 0; i < response_len; i++) {
        struct pollfd left = {.fd = client, .events = POLLRDHUP};
        if (send(client, response + i, 1, MSG_NOSIGNAL) < 0 || poll(&left, 1, 1000) != 0) return;
    }
}

// The loop of a Patroni that is well reads its store again and again.
static void answer(int client) {
    char now[sizeof response], digits[16];
    memcpy(now, response, response_len);
    snprintf(digits, sizeof digits, "%010lld", (long long)time(NULL));
    memcpy(now + seen_at, digits, 10);
    if (send(client, now, response_len, MSG_NOSIGNAL) < 0) perror("send");
}

static void *serve(void *argument) {
    int client = (int)(intptr_t)argument;
    if (read_request(client)) {
        char scrap;
        if (mode == HEALTHY) answer(client);
        if (mode == DRIP) drip(client);
        if (mode == HANG) while (read(client, &scrap, 1) > 0) continue;
    }
    close(client);
    return NULL;
}

int main(int argc, char **argv) {
    if (argc == 4 && !strcmp(argv[3], "healthy")) mode = HEALTHY;
    else if (argc == 4 && !strcmp(argv[3], "hang")) mode = HANG;
    else if (argc == 4 && !strcmp(argv[3], "drip")) mode = DRIP;
    else {
        fprintf(stderr, "usage: fake_patroni ADDRESS PORT healthy|hang|drip\n");
        return 64;
    }
    response_len = (size_t)snprintf(response, sizeof response,
                                    "HTTP/1.0 200 OK\r\nServer: BaseHTTP/0.6\r\nContent-Type: application/json\r\n"
                                    "Content-Length: %zu\r\n\r\n%s", sizeof BODY - 1, BODY);
    seen_at = (size_t)(strstr(response, SEEN) - response) + strlen(SEEN);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
    int on = 1;
    if (listener < 0) die("socket");
    if (inet_pton(AF_INET, argv[1], &at.sin_addr) != 1) die("inet_pton");
    if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0) die("setsockopt");
    if (bind(listener, (struct sockaddr *)&at, sizeof at) < 0) die("bind");
    if (listen(listener, BACKLOG) < 0) die("listen");

    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&detached, STACK);
    for (;;) {
        pthread_t thread;
        int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (client < 0) continue;
        if (pthread_create(&thread, &detached, serve, (void *)(intptr_t)client) != 0) close(client);
    }
}
