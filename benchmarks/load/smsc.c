/* An SMPP 3.4 SMSC: an id for each message, and its receipt in the same write, or withheld until it is told to.

   Withheld receipts come shuffled, on the connection that was bound last, so many in flight as the window has. What is
   withheld stays when connections end. The floor listens the same way and answers each request with its header. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

typedef struct {
    uint64_t id, source, destination; /* numbers of at most 19 digits, none of which begins with 0 */
} Withheld;

static struct {
    uint32_t binds, received, doubled, receipts, confirmed, declined;
    double first, last, last_confirmed;
} smsc;

static Withheld *withheld;
static size_t withheld_count, withheld_room;
static bool is_released;
static Connection *receiver; /* that was bound last */
static Buffer later;         /* receipts of one wake-up: they follow its answers in the same write */
static volatile sig_atomic_t tells, peeks, releases, ends;

static void on_signal(int number)
{
    if (number == SIGUSR1)
        tells = 1;
    else if (number == SIGHUP)
        peeks = 1;
    else if (number == SIGUSR2)
        releases = 1;
    else
        ends = 1;
}

/* A receipt, in `to`. The response had the id as it is here, or in hexadecimal. */
static void put_receipt(Connection *one, Buffer *to, uint64_t id, const char *from, const char *of)
{
    char text[160];
    int text_size = snprintf(text, sizeof text, "id:%llu sub:001 dlvrd:001 submit date:2611250410 done date:2611250411 "
                             "stat:DELIVRD err:000 text:", (unsigned long long)id);
    size_t from_size = strlen(from), of_size = strlen(of);
    uint32_t whole = (uint32_t)(16 + 1 + 2 + from_size + 1 + 2 + of_size + 1 + 3 + 2 + 5 + (size_t)text_size);
    uint8_t *receipt = grow(to, whole);
    memset(receipt, 0, whole);
    to->size += whole;
    put4(receipt, whole);
    put4(receipt + 4, 5);
    one->sequence = one->sequence % 0x7fffffff + 1;
    put4(receipt + 12, one->sequence);
    uint8_t *at = receipt + 17;
    *at++ = 1, *at++ = 1;
    memcpy(at, from, from_size + 1), at += from_size + 1;
    *at++ = 0, *at++ = 1;
    memcpy(at, of, of_size + 1), at += of_size + 1;
    *at = 4; /* esm_class: a receipt */
    at += 3 + 2 + 4;
    *at++ = (uint8_t)text_size;
    memcpy(at, text, (size_t)text_size);
    smsc.receipts++;
}

static void withhold(uint64_t id, const char *source, const char *destination)
{
    if (withheld_count == withheld_room) {
        withheld_room = withheld_room * 2 + 1024;
        withheld = realloc(withheld, withheld_room * sizeof *withheld);
        if (withheld == NULL)
            fail("memory");
    }
    withheld[withheld_count++] = (Withheld){id, strtoull(source, NULL, 10), strtoull(destination, NULL, 10)};
}

static void release(void)
{
    srandom(given.seed);
    for (size_t left = withheld_count; left > 1; left--) {
        size_t other = (size_t)random() % left;
        Withheld moved = withheld[other];
        withheld[other] = withheld[left - 1];
        withheld[left - 1] = moved;
    }
    is_released = true;
    if (smsc.first == 0)
        smsc.first = seconds();
}

static void send_released(void)
{
    char source[24], destination[24];
    if (!is_released || receiver == NULL)
        return;
    for (; withheld_count && receiver->in_flight < given.window; receiver->in_flight++) {
        const Withheld *one = withheld + --withheld_count;
        snprintf(source, sizeof source, "%llu", (unsigned long long)one->source);
        snprintf(destination, sizeof destination, "%llu", (unsigned long long)one->destination);
        put_receipt(receiver, &receiver->out, one->id, destination, source);
    }
    flush(receiver);
}

static void hear_submit(Connection *one, const uint8_t *frame, uint32_t size)
{
    static uint64_t message_id;
    const char *at = (const char *)frame + 16, *end = (const char *)frame + size;
    at += strnlen(at, (size_t)(end - at)) + 1; /* service_type */
    const char *source = at + 2;
    const char *dest = source + strnlen(source, 21) + 1 + 2;
    at = dest + strnlen(dest, 21) + 1 + 3; /* esm_class, protocol_id, priority */
    at += strnlen(at, 17) + 1;             /* schedule */
    at += strnlen(at, 17) + 1;             /* validity */
    if (at >= end) {
        fprintf(stderr, "load: a submit_sm that cannot be read\n");
        exit(2);
    }
    bool wants_receipt = *at & 1;
    uint64_t id = given.first_id + message_id++;
    char text[24];
    size_t id_size = (size_t)snprintf(text, sizeof text, given.is_hex ? "%llx" : "%llu", (unsigned long long)id);
    smsc.received++;
    smsc.doubled += is_second(name_of(dest, 21));
    smsc.last = seconds();
    if (smsc.first == 0)
        smsc.first = smsc.last;
    uint8_t *answer = add_smpp(one, (uint32_t)(16 + id_size + 1), 0x80000004, get4(frame + 12));
    memcpy(answer + 16, text, id_size);
    if (wants_receipt && given.is_withholding)
        withhold(id, source, dest);
    else if (wants_receipt)
        put_receipt(one, &later, id, dest, source);
}

static void smsc_frame(Connection *one, const uint8_t *frame, uint32_t size)
{
    uint32_t command = get4(frame + 4), sequence = size >= 16 ? get4(frame + 12) : 0;
    bool is_bind = command == 1 || command == 2 || command == 9;
    if (given.is_mute && !is_bind) /* it lets in, and then nothing */
        return;
    if (command == 4)
        hear_submit(one, frame, size);
    else if (command == 0x80000005) {
        smsc.confirmed++, smsc.last_confirmed = seconds();
        smsc.declined += get4(frame + 8) != 0;
        one->in_flight -= one->in_flight > 0;
    } else if (is_bind) {
        memcpy(add_smpp(one, 21, command | 0x80000000, sequence) + 16, "load", 4);
        smsc.binds++;
        receiver = one;
    } else if (command == 0x15 || command == 6)
        add_smpp(one, 16, command | 0x80000000, sequence);
}

static void floor_frame(Connection *one, const uint8_t *frame, uint32_t size)
{
    (void)size;
    add_frame(one, 12, get4(frame + 4) | 0x80000000, get4(frame + 8));
}

static void tell(bool forgets)
{
    printf("{\"binds\": %u, \"received\": %u, \"doubled\": %u, \"receipts\": %u, \"confirmed\": %u, \"declined\": %u, "
           "\"withheld\": %zu, \"seconds\": %.6f, \"confirmed_seconds\": %.6f}\n",
           smsc.binds, smsc.received, smsc.doubled, smsc.receipts, smsc.confirmed, smsc.declined, withheld_count,
           smsc.last > 0 ? smsc.last - smsc.first : 0.0,
           smsc.last_confirmed > 0 ? smsc.last_confirmed - smsc.first : 0.0);
    if (forgets) {
        memset(&smsc, 0, sizeof smsc);
        memset(seen, 0, NUMBERS / 8);
    }
    fflush(stdout);
}

static void let_in(int door)
{
    Connection *one = calloc(1, sizeof *one);
    if (one == NULL || (one->fd = accept(door, NULL, NULL)) < 0)
        fail("accept");
    watch(one);
}

static void let_go(Connection *one)
{
    if (receiver == one)
        receiver = NULL;
    close(one->fd);
    free(one->in.data), free(one->out.data), free(one);
}

static int serve(Handler *handle)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)given.port)};
    socklen_t size = sizeof at;
    int on = 1, door = socket(AF_INET, SOCK_STREAM, 0);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(door, (struct sockaddr *)&at, size) < 0 || listen(door, 512) < 0)
        fail("listen");
    getsockname(door, (struct sockaddr *)&at, &size);
    struct epoll_event wanted = {EPOLLIN, {.ptr = NULL}}, events[EVENTS];
    epoll_ctl(poller, EPOLL_CTL_ADD, door, &wanted);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    printf("%d\n", ntohs(at.sin_port)); /* last: who reads it may send signals */
    fflush(stdout);
    while (!ends) {
        int ready = epoll_wait(poller, events, EVENTS, 200);
        for (int k = 0; k < ready; k++) {
            Connection *one = events[k].data.ptr;
            if (one == NULL) {
                let_in(door);
                continue;
            }
            if (events[k].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !read_frames(one, handle)) {
                let_go(one);
                continue;
            }
            if (later.size) {
                memcpy(add(one, later.size), later.data, later.size);
                later.size = 0;
            }
            flush(one);
        }
        if (releases) {
            releases = 0;
            release();
        }
        send_released();
        if (tells || peeks) {
            bool forgets = tells;
            tells = peeks = 0; /* first: who reads the answer may ask again at once */
            tell(forgets);
        }
    }
    tell(true);
    return 0;
}

int smsc_run(void)
{
    return serve(smsc_frame);
}

int floor_run(void)
{
    return serve(floor_frame);
}
