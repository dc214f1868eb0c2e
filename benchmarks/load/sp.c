/* A provider: W requests in flight on each busy connection, or by the clock, until the last report is answered. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

enum { DEAF_AHEAD = 1 << 16, DEAF_BUFFER = 4096, DEAF_SEGMENT = 536 };

static struct {
    uint32_t sent, answered, accepted, reports, doubled, undelivered, bound, opened, status[256];
    uint32_t beats, late_beats, gone;
    double began, last_answer, first_report, last_report, longest_beat, moved;
    uint32_t *took_us;
} sp;

static uint8_t *bodies;
static size_t body_count;
static uint32_t ring; /* a power of two, above any span of sequences in flight */
static volatile sig_atomic_t ends;

static void on_signal(int number)
{
    (void)number;
    ends = 1;
}

/* ----------------------------------------------------------------------------------------------- what is heard */
void sp_bound(Connection *one, uint32_t status)
{
    if (status != 0) {
        fprintf(stderr, "load: the login was refused: %u\n", status);
        exit(2);
    }
    one->is_bound = true;
    one->is_deaf = given.is_deaf;
    sp.bound++;
    sp.moved = seconds();
}

void sp_answered(Connection *one, uint32_t sequence, uint32_t status)
{
    double now = seconds(), took = (now - one->due[sequence & (ring - 1)]) * 1e6;
    if (sp.answered < given.messages)
        sp.took_us[sp.answered] = took < 0 ? 0 : (uint32_t)took;
    sp.answered++;
    sp.status[status < 256 ? status : 255]++;
    sp.accepted += status == 0;
    one->in_flight--;
    sp.last_answer = sp.moved = now;
}

void sp_reported(uint32_t name, bool is_delivered)
{
    sp.last_report = sp.moved = seconds();
    if (sp.reports++ == 0)
        sp.first_report = sp.last_report;
    sp.doubled += is_second(name);
    sp.undelivered += !is_delivered;
}

void sp_beaten(Connection *one)
{
    double took = seconds() - one->asked;
    sp.late_beats += took > 1.0;
    if (took > sp.longest_beat)
        sp.longest_beat = took;
    one->asked = 0;
}

/* ------------------------------------------------------------------------------------------------ what is said */
static void submit(Connection *one, double due)
{
    uint32_t number = given.first + sp.sent;
    char destination[24];
    snprintf(destination, sizeof destination, "138%08u", number % NUMBERS);
    (given.is_smpp ? smpp_submit : cmpp_submit)(one, destination, bodies + (number % body_count) * BODY);
    one->due[one->sequence & (ring - 1)] = due;
    one->in_flight++;
    sp.sent++;
}

static void open_connection(Connection *one, int place)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)given.port)};
    int small = DEAF_BUFFER, segment = DEAF_SEGMENT;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    one->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (one->fd >= 0 && given.is_deaf) { /* what it does not read soon stays with who wrote it: as on a narrow line */
        setsockopt(one->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
        setsockopt(one->fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);
    }
    if (one->fd < 0 || connect(one->fd, (struct sockaddr *)&to, sizeof to) < 0)
        fail("connect");
    one->is_idle = place >= given.connections;
    if (!one->is_idle && (one->due = calloc(ring, sizeof(double))) == NULL)
        fail("memory");
    if (given.heartbeat > 0) /* spread evenly over the first period */
        one->beat = seconds() + given.heartbeat * (1 + (place * 37 % 100) / 100.0);
    watch(one);
    if (given.is_floor) {
        one->is_bound = true;
        sp.bound++;
        return;
    }
    (given.is_smpp ? smpp_log_in : cmpp_log_in)(one, place);
    flush(one);
}

static void fill(Connection *all)
{
    static int turn;
    double now = seconds();
    uint32_t due = given.messages;
    if (given.rate > 0) {
        double by_now = (now - sp.began) * given.rate;
        due = by_now < given.messages ? (uint32_t)by_now : given.messages;
    }
    for (int full = 0; sp.sent < due && full < given.connections; turn = (turn + 1) % given.connections) {
        Connection *one = all + turn;
        if (one->fd < 0 || one->in_flight >= given.window) {
            full++;
            continue;
        }
        full = 0;
        if (given.rate > 0)
            submit(one, sp.began + sp.sent / given.rate);
        else
            while (sp.sent < due && one->in_flight < given.window)
                submit(one, now);
    }
}

/* As much as the sockets take, and no window; says so once when they have taken nothing for a second. */
static void fill_deaf(Connection *all)
{
    static uint32_t known;
    static bool is_told;
    for (int k = 0; k < given.connections; k++)
        while (all[k].fd >= 0 && all[k].out.size < DEAF_AHEAD)
            submit(all + k, 0);
    if (sp.sent != known)
        known = sp.sent, sp.moved = seconds();
    else if (!is_told && seconds() - sp.moved > 1.0) {
        is_told = true;
        printf("stalled\n");
        fflush(stdout);
    }
}

static void beat(Connection *all, int count, double now)
{
    for (int k = 0; k < count; k++) {
        Connection *one = all + k;
        if (one->fd < 0 || now < one->beat)
            continue;
        one->beat = now + given.heartbeat;
        if (one->asked > 0) { /* the one before was never answered */
            sp.late_beats++;
            continue;
        }
        one->asked = now;
        sp.beats++;
        (given.is_smpp ? smpp_beat : cmpp_beat)(one);
        flush(one);
    }
}

/* ------------------------------------------------------------------------------------------------- the whole run */
static bool is_done(void)
{
    if (sp.began == 0 || seconds() - sp.began < given.stay)
        return false;
    uint32_t wanted = given.wants_reports && !given.is_floor ? sp.accepted : 0;
    if (given.expected >= 0)
        wanted = (uint32_t)given.expected;
    return sp.answered >= given.messages && sp.reports >= wanted;
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void read_texts(void)
{
    FILE *file = fopen(given.texts, "rb");
    if (file == NULL)
        fail(given.texts);
    fseek(file, 0, SEEK_END);
    body_count = (size_t)ftell(file) / BODY;
    rewind(file);
    bodies = malloc(body_count * BODY + 1);
    if (body_count == 0 || fread(bodies, BODY, body_count, file) != body_count)
        fail(given.texts);
    fclose(file);
}

static void tell(void)
{
    double ended = sp.last_report > sp.last_answer ? sp.last_report : sp.last_answer;
    uint32_t known = sp.answered < given.messages ? sp.answered : given.messages;
    qsort(sp.took_us, known, sizeof(uint32_t), by_size);
    printf("{\"sent\": %u, \"answered\": %u, \"accepted\": %u, \"reports\": %u, \"doubled\": %u, \"undelivered\": %u, "
           "\"gone\": %u, \"seconds\": %.6f, \"answer_seconds\": %.6f, \"report_seconds\": %.6f, \"p50_us\": %u, "
           "\"p99_us\": %u, \"max_us\": %u, \"beats\": %u, \"late_beats\": %u, \"longest_beat_s\": %.4f, "
           "\"refused\": {",
           sp.sent, sp.answered, sp.accepted, sp.reports, sp.doubled, sp.undelivered, sp.gone, ended - sp.began,
           sp.last_answer - sp.began, sp.last_report - sp.first_report, known ? sp.took_us[known / 2] : 0,
           known ? sp.took_us[known - 1 - known / 100] : 0, known ? sp.took_us[known - 1] : 0, sp.beats, sp.late_beats,
           sp.longest_beat);
    const char *comma = "";
    for (int k = 1; k < 256; k++)
        if (sp.status[k]) {
            printf("%s\"%d\": %u", comma, k, sp.status[k]);
            comma = ", ";
        }
    printf("}}\n");
}

static struct timespec pause_until_due(void)
{
    struct timespec pause = {0, 100000000};
    if (given.rate > 0 && sp.began > 0 && sp.sent < given.messages) {
        double until = sp.began + (sp.sent + 1) / given.rate - seconds();
        pause.tv_nsec = until <= 0 ? 0 : until < 0.1 ? (long)(until * 1e9) : pause.tv_nsec;
    } else if (given.heartbeat > 0)
        pause.tv_nsec = 10000000;
    return pause;
}

int sp_run(void)
{
    int count = given.connections + given.idle;
    Connection *all = calloc((size_t)count, sizeof *all);
    struct epoll_event events[EVENTS];
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    read_texts();
    for (ring = 1024; ring < 16 * given.window; ring *= 2)
        ;
    sp.took_us = calloc((size_t)given.messages + 1, sizeof(uint32_t));
    if (all == NULL || sp.took_us == NULL)
        fail("memory");
    for (int k = 0; k < count; k++)
        all[k].fd = -1;
    sp.moved = seconds();
    while (!ends && !is_done()) {
        double now = seconds();
        if (now - sp.moved > given.patience + given.stay)
            break;
        while (sp.opened < (uint32_t)count && sp.opened - sp.bound < UNBOUND) {
            open_connection(all + sp.opened, (int)sp.opened);
            sp.opened++;
        }
        if (sp.bound == (uint32_t)count) {
            if (sp.began == 0)
                sp.began = seconds();
            (given.is_deaf ? fill_deaf : fill)(all);
            for (int k = 0; k < given.connections; k++)
                if (all[k].fd >= 0 && all[k].out.size && !all[k].waits_to_write)
                    flush(all + k);
        }
        static double looked;
        if (given.heartbeat > 0 && now - looked > 0.01) {
            looked = now;
            beat(all, count, now);
        }
        struct timespec pause = pause_until_due();
        int ready = epoll_pwait2(poller, events, EVENTS, &pause, NULL);
        for (int k = 0; k < ready; k++) {
            Connection *one = events[k].data.ptr;
            bool is_over = one->is_deaf && events[k].events & (EPOLLHUP | EPOLLERR);
            if (!is_over && !one->is_deaf && events[k].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                is_over = !read_frames(one, given.is_smpp ? smpp_frame : cmpp_frame);
            if (is_over) {
                sp.gone++;
                close(one->fd);
                one->fd = -1;
                continue;
            }
            if (one->is_idle || events[k].events & EPOLLOUT)
                flush(one);
        }
    }
    for (int k = 0; k < given.connections; k++)
        if (all[k].fd >= 0)
            flush(all + k);
    tell();
    return is_done() ? 0 : 1;
}
