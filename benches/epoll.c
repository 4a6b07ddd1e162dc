// The least work an agent port can do: a static reply, one thread, level-triggered epoll, no allocation.
// It is the limit that `benches/run.sh` sets rolecall beside. It lingers without a bound, so it is no server to use.
//
// usage: epoll ADDRESS PORT
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static const char REPLY[] = "READY\n";

enum {
    BACKLOG = 1024, // as many as rolecall and tokio ask for, so that none of the three drops a connection of a burst
    EVENTS = 64,    // one epoll_wait reports at most this many sockets
    SCRAP = 512,    // what a client sends is read and thrown away in pieces of this size
};

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void watch(int epoll, int fd) {
    struct epoll_event interest = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &interest) < 0) die("epoll_ctl");
}

static int listen_on(const char *address, const char *port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    int on = 1;
    if (fd < 0) die("socket");
    if (inet_pton(AF_INET, address, &at.sin_addr) != 1) die("inet_pton");
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0) die("setsockopt");
    if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0) die("bind");
    if (listen(fd, BACKLOG) < 0) die("listen");
    return fd;
}

static void answer(int epoll, int listener) {
    int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < 0) return;
    if (send(client, REPLY, sizeof REPLY - 1, MSG_NOSIGNAL) < 0 || shutdown(client, SHUT_WR) < 0) {
        close(client);
        return;
    }
    watch(epoll, client);
}

// An unread byte at close turns into a reset that can overtake the reply: read to the end first.
static void drain(int client) {
    char scrap[SCRAP];
    ssize_t got = read(client, scrap, sizeof scrap);
    if (got > 0 || (got < 0 && errno == EAGAIN)) return;
    close(client);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: epoll ADDRESS PORT\n");
        return 64;
    }
    int listener = listen_on(argv[1], argv[2]);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0) die("epoll_create1");
    watch(epoll, listener);
    for (;;) {
        struct epoll_event ready[EVENTS];
        int count = epoll_wait(epoll, ready, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            if (ready[i].data.fd == listener) answer(epoll, listener);
            else drain(ready[i].data.fd);
        }
    }
}
