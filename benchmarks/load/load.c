/* Both ends of a gateway under load, each as one thread around epoll, so that the machine's time goes to the gateway.

     load sp    --port P --window W --messages N --texts FILE ...   a CMPP 2.0 provider: SUBMITs in, reports out
     load smsc  --port P                                            an SMPP 3.4 SMSC: an id and a receipt for each message
     load floor --port P                                            answers each request with a header of 12 octets

   `sp` keeps W SUBMITs in flight on each busy connection and refills as they are answered; with --rate it sends by the
   clock, and a message's time begins when it was due, so that waiting for the window is not hidden. --floor speaks to
   the floor: the same octets, no login, no reports. It ends when the last report is answered and prints one line of
   JSON. `smsc` prints its port, then one line of JSON for each SIGUSR1 (and counts from zero) and at SIGTERM.

   --idle N adds connections that only send heartbeats, --seconds S stays at least so long.
   --logins K: how many logins were made before, because a digest is good for one.

   Both ends look at the last eight digits of the recipient: a second message or report with the same is counted.
   The layouts are those of CMPP 2.0 and SMPP 3.4; nothing here is shared with the gateway's own codecs. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BODY = 80, NUMBERS = 100000000, UNBOUND = 64, EVENTS = 256 };

/* ------------------------------------------------------------------------------------------------------------ MD5 */
/* RFC 1321, for one short text: CONNECT's digest. */
static const uint32_t SINES[64] = {
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391};
static const uint8_t TURNS[16] = {7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21};

static void md5(const uint8_t *text, size_t size, uint8_t digest[16])
{
    uint8_t padded[256] = {0};
    uint32_t state[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
    size_t whole = (size + 8) / 64 * 64 + 64;
    if (whole > sizeof padded)
        exit(2);
    memcpy(padded, text, size);
    padded[size] = 0x80;
    for (int k = 0; k < 8; k++)
        padded[whole - 8 + k] = (uint8_t)((uint64_t)size * 8 >> 8 * k);
    for (size_t at = 0; at < whole; at += 64) {
        uint32_t word[16], a = state[0], b = state[1], c = state[2], d = state[3];
        for (int k = 0; k < 16; k++) {
            const uint8_t *from = padded + at + 4 * k;
            word[k] = from[0] | from[1] << 8 | from[2] << 16 | (uint32_t)from[3] << 24;
        }
        for (int k = 0; k < 64; k++) {
            uint32_t mixed, next;
            int from;
            switch (k / 16) {
            case 0: mixed = (b & c) | (~b & d); from = k; break;
            case 1: mixed = (d & b) | (~d & c); from = (5 * k + 1) % 16; break;
            case 2: mixed = b ^ c ^ d; from = (3 * k + 5) % 16; break;
            default: mixed = c ^ (b | ~d); from = 7 * k % 16; break;
            }
            next = a + mixed + SINES[k] + word[from];
            int turn = TURNS[k / 16 * 4 + k % 4];
            a = d, d = c, c = b;
            b += next << turn | next >> (32 - turn);
        }
        state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    }
    for (int k = 0; k < 16; k++)
        digest[k] = (uint8_t)(state[k / 4] >> 8 * (k % 4));
}

/* -------------------------------------------------------------------------------------------------------- octets */
static void put4(uint8_t *to, uint32_t value)
{
    value = htonl(value);
    memcpy(to, &value, 4);
}

static uint32_t get4(const uint8_t *from)
{
    uint32_t value;
    memcpy(&value, from, 4);
    return ntohl(value);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* The last eight digits of a number: what a message is known by. */
static uint32_t name_of(const char *number, size_t most)
{
    size_t size = strnlen(number, most);
    uint32_t name = 0;
    for (size_t k = size > 8 ? size - 8 : 0; k < size; k++)
        name = name * 10 + (uint32_t)(number[k] - '0') % 10;
    return name % NUMBERS;
}

static bool is_second(uint8_t *seen, uint32_t name)
{
    bool was = seen[name / 8] >> name % 8 & 1;
    seen[name / 8] |= (uint8_t)(1 << name % 8);
    return was;
}

/* --------------------------------------------------------------------------------------------------- connections */
typedef struct {
    uint8_t *data;
    size_t size, room;
} Buffer;

typedef struct {
    int fd;
    bool is_bound, is_idle, waits_to_write;
    Buffer in, out;
    uint32_t sequence, in_flight;
    double *due;        /* by sequence: when its time began */
    double beat, asked; /* when the next heartbeat is due; when the one that is not answered was sent */
} Connection;

static int poller;

static void fail(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(2);
}

static uint8_t *grow(Buffer *buffer, size_t more)
{
    if (buffer->size + more > buffer->room) {
        buffer->room = (buffer->size + more) * 2 + 4096;
        buffer->data = realloc(buffer->data, buffer->room);
        if (buffer->data == NULL)
            fail("memory");
    }
    return buffer->data + buffer->size;
}

static uint8_t *add(Connection *one, size_t size)
{
    uint8_t *at = grow(&one->out, size);
    memset(at, 0, size);
    one->out.size += size;
    return at;
}

static uint8_t *add_frame(Connection *one, uint32_t size, uint32_t command, uint32_t sequence)
{
    uint8_t *at = add(one, size);
    put4(at, size);
    put4(at + 4, command);
    put4(at + 8, sequence);
    return at;
}

static void flush(Connection *one)
{
    size_t done = 0;
    while (done < one->out.size) {
        ssize_t written = send(one->fd, one->out.data + done, one->out.size - done, MSG_NOSIGNAL);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            break; /* full, or gone: reading will tell */
        done += (size_t)written;
    }
    memmove(one->out.data, one->out.data + done, one->out.size - done);
    one->out.size -= done;
    if (one->waits_to_write != (one->out.size > 0)) {
        one->waits_to_write = one->out.size > 0;
        struct epoll_event wanted = {EPOLLIN | (one->waits_to_write ? EPOLLOUT : 0), {.ptr = one}};
        epoll_ctl(poller, EPOLL_CTL_MOD, one->fd, &wanted);
    }
}

/* Read what is there and hand over each whole frame. False: the peer is gone. */
static bool read_frames(Connection *one, void (*handle)(Connection *, const uint8_t *, uint32_t))
{
    uint8_t *at = grow(&one->in, 1 << 16);
    ssize_t count = recv(one->fd, at, 1 << 16, 0);
    if (count <= 0)
        return count < 0 && (errno == EAGAIN || errno == EINTR);
    one->in.size += (size_t)count;
    size_t begin = 0;
    while (one->in.size - begin >= 12) {
        uint32_t size = get4(one->in.data + begin);
        if (size < 12 || size > 1 << 16) {
            fprintf(stderr, "load: a frame of %u octets\n", size);
            exit(2);
        }
        if (one->in.size - begin < size)
            break;
        handle(one, one->in.data + begin, size);
        begin += size;
    }
    memmove(one->in.data, one->in.data + begin, one->in.size - begin);
    one->in.size -= begin;
    return true;
}

static void watch(Connection *one)
{
    int on = 1;
    setsockopt(one->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(one->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event wanted = {EPOLLIN, {.ptr = one}};
    epoll_ctl(poller, EPOLL_CTL_ADD, one->fd, &wanted);
}

/* ------------------------------------------------------------------------------------------------------------ sp */
static struct {
    int port, connections, idle;
    uint32_t window, messages, first;
    double rate, heartbeat, patience, stay;
    long logins;
    const char *texts, *login, *secret, *source;
    bool is_floor, wants_reports;
} given = {.connections = 1, .window = 16, .messages = 1000, .patience = 20, .login = "901234", .secret = "",
           .source = "10690001", .wants_reports = true};

static struct {
    uint32_t sent, answered, accepted, reports, doubled, undelivered, bound, opened, status[256];
    uint32_t beats, late_beats, gone;
    double began, last_answer, last_report, longest_beat, moved;
    uint32_t *took_us;
} sp;

static uint8_t *bodies, *seen;
static size_t body_count;
static uint32_t ring; /* a power of two, above any span of sequences in flight */

static void sp_log_in(Connection *one, int place)
{
    char stamp[16];
    uint8_t text[128] = {0}, *at = add_frame(one, 39, 1, ++one->sequence);
    time_t when = given.logins + place; /* no clock: another one for each login, the account does not look at it */
    strftime(stamp, sizeof stamp, "%m%d%H%M%S", gmtime(&when));
    size_t login = strlen(given.login), secret = strlen(given.secret);
    memcpy(text, given.login, login);
    memcpy(text + login + 9, given.secret, secret);
    memcpy(text + login + 9 + secret, stamp, 10);
    memcpy(at + 12, given.login, login);
    md5(text, login + 9 + secret + 10, at + 18);
    at[34] = 0x20;
    put4(at + 35, (uint32_t)strtoul(stamp, NULL, 10));
    flush(one);
}

static void sp_submit(Connection *one, double due)
{
    uint32_t number = given.first + sp.sent;
    uint8_t *at = add_frame(one, 239, 4, ++one->sequence);
    char dest[24];
    at[20] = at[21] = 1;
    at[22] = given.wants_reports;
    at[58] = 8;
    memcpy(at + 59, given.login, strlen(given.login));
    memcpy(at + 65, "01", 2);
    memcpy(at + 107, given.source, strlen(given.source));
    at[128] = 1;
    snprintf(dest, sizeof dest, "138%08u", number % NUMBERS);
    memcpy(at + 129, dest, 11);
    at[150] = BODY;
    memcpy(at + 151, bodies + (number % body_count) * BODY, BODY);
    one->due[one->sequence & (ring - 1)] = due;
    one->in_flight++;
    sp.sent++;
}

static void sp_frame(Connection *one, const uint8_t *frame, uint32_t size)
{
    uint32_t command = get4(frame + 4), sequence = get4(frame + 8);
    double now = seconds();
    if (command == 0x80000004) {
        uint8_t status = given.is_floor ? 0 : frame[20];
        double took = (now - one->due[sequence & (ring - 1)]) * 1e6;
        if (sp.answered < given.messages)
            sp.took_us[sp.answered] = took < 0 ? 0 : (uint32_t)took;
        sp.answered++;
        sp.status[status]++;
        sp.accepted += status == 0;
        one->in_flight--;
        sp.last_answer = sp.moved = now;
    } else if (command == 5) {
        uint8_t *answer = add_frame(one, 21, 0x80000005, sequence);
        memcpy(answer + 12, frame + 12, 8);
        if (size >= 137 && frame[75] == 1) {
            sp.reports++;
            sp.doubled += is_second(seen, name_of((const char *)frame + 112, 21));
            sp.undelivered += memcmp(frame + 85, "DELIVRD", 7) != 0;
            sp.last_report = sp.moved = now;
        }
    } else if (command == 8) {
        add_frame(one, 13, 0x80000008, sequence);
    } else if (command == 0x80000008) {
        double took = now - one->asked;
        sp.late_beats += took > 1.0;
        if (took > sp.longest_beat)
            sp.longest_beat = took;
        one->asked = 0;
    } else if (command == 0x80000001) {
        if (size < 13 || frame[12] != 0) {
            fprintf(stderr, "load: the login was refused: %d\n", size < 13 ? -1 : frame[12]);
            exit(2);
        }
        one->is_bound = true;
        sp.bound++;
        sp.moved = now;
    }
}

static void sp_open(Connection *one, int place)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)given.port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    one->fd = socket(AF_INET, SOCK_STREAM, 0);
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
    } else
        sp_log_in(one, place);
}

static void sp_fill(Connection *all)
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
            sp_submit(one, sp.began + sp.sent / given.rate);
        else
            while (sp.sent < due && one->in_flight < given.window)
                sp_submit(one, now);
    }
}

static void sp_beat(Connection *all, int count, double now)
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
        add_frame(one, 12, 8, ++one->sequence);
        flush(one);
    }
}

static bool sp_is_done(void)
{
    if (sp.began == 0 || seconds() - sp.began < given.stay)
        return false;
    uint32_t wanted = given.wants_reports && !given.is_floor ? sp.accepted : 0;
    return sp.answered >= given.messages && sp.reports >= wanted;
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void sp_read_texts(void)
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

static int sp_run(void)
{
    int count = given.connections + given.idle;
    Connection *all = calloc((size_t)count, sizeof *all);
    struct epoll_event events[EVENTS];
    sp_read_texts();
    for (ring = 1024; ring < 16 * given.window; ring *= 2)
        ;
    sp.took_us = calloc(given.messages + 1, sizeof(uint32_t));
    for (int k = 0; k < count; k++)
        all[k].fd = -1;
    sp.moved = seconds();
    while (!sp_is_done()) {
        double now = seconds();
        if (now - sp.moved > given.patience + given.stay)
            break;
        while (sp.opened < (uint32_t)count && sp.opened - sp.bound < UNBOUND) {
            sp_open(all + sp.opened, (int)sp.opened);
            sp.opened++;
        }
        if (sp.bound == (uint32_t)count) {
            if (sp.began == 0)
                sp.began = seconds();
            sp_fill(all);
            for (int k = 0; k < given.connections; k++)
                if (all[k].fd >= 0 && all[k].out.size && !all[k].waits_to_write)
                    flush(all + k);
        }
        static double looked;
        if (given.heartbeat > 0 && now - looked > 0.01) {
            looked = now;
            sp_beat(all, count, now);
        }
        struct timespec pause = {0, 100000000};
        if (given.rate > 0 && sp.began > 0 && sp.sent < given.messages) {
            double until = sp.began + (sp.sent + 1) / given.rate - seconds();
            pause.tv_nsec = until <= 0 ? 0 : until < 0.1 ? (long)(until * 1e9) : pause.tv_nsec;
        } else if (given.heartbeat > 0)
            pause.tv_nsec = 10000000;
        int ready = epoll_pwait2(poller, events, EVENTS, &pause, NULL);
        for (int k = 0; k < ready; k++) {
            Connection *one = events[k].data.ptr;
            if (events[k].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !read_frames(one, sp_frame)) {
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
    double ended = sp.last_report > sp.last_answer ? sp.last_report : sp.last_answer;
    uint32_t known = sp.answered < given.messages ? sp.answered : given.messages;
    qsort(sp.took_us, known, sizeof(uint32_t), by_size);
    printf("{\"sent\": %u, \"answered\": %u, \"accepted\": %u, \"reports\": %u, \"doubled\": %u, \"undelivered\": %u, "
           "\"gone\": %u, \"seconds\": %.6f, \"answer_seconds\": %.6f, \"p50_us\": %u, \"p99_us\": %u, \"max_us\": %u, "
           "\"beats\": %u, \"late_beats\": %u, \"longest_beat_s\": %.4f, \"refused\": {",
           sp.sent, sp.answered, sp.accepted, sp.reports, sp.doubled, sp.undelivered, sp.gone, ended - sp.began,
           sp.last_answer - sp.began, known ? sp.took_us[known / 2] : 0, known ? sp.took_us[known - 1 - known / 100] : 0,
           known ? sp.took_us[known - 1] : 0, sp.beats, sp.late_beats, sp.longest_beat);
    const char *comma = "";
    for (int k = 1; k < 256; k++)
        if (sp.status[k]) {
            printf("%s\"%d\": %u", comma, k, sp.status[k]);
            comma = ", ";
        }
    printf("}}\n");
    return sp_is_done() ? 0 : 1;
}

/* ---------------------------------------------------------------------------------------------------------- smsc */
static struct {
    uint32_t received, doubled, receipts, confirmed;
    double first, last, last_confirmed;
} smsc;
static uint64_t message_id = 1000000000;
static volatile sig_atomic_t tells, ends;

static void on_signal(int number)
{
    if (number == SIGUSR1)
        tells = 1;
    else
        ends = 1;
}

static uint8_t *add_smpp(Connection *one, uint32_t size, uint32_t command, uint32_t sequence)
{
    uint8_t *at = add_frame(one, size, command, 0);
    put4(at + 12, sequence);
    return at;
}

static void smsc_submit(Connection *one, const uint8_t *frame, uint32_t size, Buffer *later)
{
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
    char id[24];
    size_t id_size = (size_t)snprintf(id, sizeof id, "%llu", (unsigned long long)++message_id);
    smsc.received++;
    smsc.doubled += is_second(seen, name_of(dest, 21));
    smsc.last = seconds();
    if (smsc.first == 0)
        smsc.first = smsc.last;
    uint8_t *answer = add_smpp(one, (uint32_t)(16 + id_size + 1), 0x80000004, get4(frame + 12));
    memcpy(answer + 16, id, id_size);
    if (!wants_receipt)
        return;
    char text[160];
    int text_size = snprintf(text, sizeof text, "id:%s sub:001 dlvrd:001 submit date:2611250410 done date:2611250411 "
                             "stat:DELIVRD err:000 text:", id);
    size_t from_size = strlen(dest), to_size = strlen(source);
    uint32_t whole = (uint32_t)(16 + 1 + 2 + from_size + 1 + 2 + to_size + 1 + 3 + 2 + 5 + (size_t)text_size);
    uint8_t *receipt = grow(later, whole);
    memset(receipt, 0, whole);
    later->size += whole;
    put4(receipt, whole);
    put4(receipt + 4, 5);
    one->sequence = one->sequence % 0x7fffffff + 1;
    put4(receipt + 12, one->sequence);
    uint8_t *to = receipt + 17;
    *to++ = 1, *to++ = 1;
    memcpy(to, dest, from_size + 1), to += from_size + 1;
    *to++ = 0, *to++ = 1;
    memcpy(to, source, to_size + 1), to += to_size + 1;
    *to = 4; /* esm_class: a receipt */
    to += 3 + 2 + 4;
    *to++ = (uint8_t)text_size;
    memcpy(to, text, (size_t)text_size);
    smsc.receipts++;
}

static Buffer later; /* receipts of one wake-up: they follow its answers in the same write */

static void smsc_frame(Connection *one, const uint8_t *frame, uint32_t size)
{
    uint32_t command = get4(frame + 4), sequence = size >= 16 ? get4(frame + 12) : 0;
    if (command == 4)
        smsc_submit(one, frame, size, &later);
    else if (command == 0x80000005)
        smsc.confirmed++, smsc.last_confirmed = seconds();
    else if (command == 1 || command == 2 || command == 9)
        memcpy(add_smpp(one, 21, command | 0x80000000, sequence) + 16, "load", 4);
    else if (command == 0x15 || command == 6)
        add_smpp(one, 16, command | 0x80000000, sequence);
}

static void floor_frame(Connection *one, const uint8_t *frame, uint32_t size)
{
    (void)size;
    add_frame(one, 12, get4(frame + 4) | 0x80000000, get4(frame + 8));
}

static void smsc_tell(void)
{
    printf("{\"received\": %u, \"doubled\": %u, \"receipts\": %u, \"confirmed\": %u, \"seconds\": %.6f, "
           "\"confirmed_seconds\": %.6f}\n",
           smsc.received, smsc.doubled, smsc.receipts, smsc.confirmed, smsc.last - smsc.first,
           smsc.last_confirmed > 0 ? smsc.last_confirmed - smsc.first : 0.0);
    fflush(stdout);
    memset(&smsc, 0, sizeof smsc);
    memset(seen, 0, NUMBERS / 8);
}

static int serve(void (*handle)(Connection *, const uint8_t *, uint32_t))
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)given.port)};
    socklen_t size = sizeof at;
    int on = 1, door = socket(AF_INET, SOCK_STREAM, 0);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(door, (struct sockaddr *)&at, size) < 0 || listen(door, 512) < 0)
        fail("listen");
    getsockname(door, (struct sockaddr *)&at, &size);
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    struct epoll_event wanted = {EPOLLIN, {.ptr = NULL}}, events[EVENTS];
    epoll_ctl(poller, EPOLL_CTL_ADD, door, &wanted);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    while (!ends) {
        int ready = epoll_wait(poller, events, EVENTS, 200);
        for (int k = 0; k < ready; k++) {
            Connection *one = events[k].data.ptr;
            if (one == NULL) {
                one = calloc(1, sizeof *one);
                if (one == NULL || (one->fd = accept(door, NULL, NULL)) < 0)
                    fail("accept");
                watch(one);
                continue;
            }
            if (events[k].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !read_frames(one, handle)) {
                close(one->fd);
                free(one->in.data), free(one->out.data), free(one);
                continue;
            }
            if (later.size) {
                memcpy(add(one, later.size), later.data, later.size);
                later.size = 0;
            }
            flush(one);
        }
        if (tells) {
            tells = 0;
            smsc_tell();
        }
    }
    smsc_tell();
    return 0;
}

int main(int count, char **words)
{
    static const struct option options[] = {
        {"port", 1, 0, 'p'},     {"window", 1, 0, 'w'},   {"messages", 1, 0, 'n'}, {"texts", 1, 0, 't'},
        {"rate", 1, 0, 'r'},     {"idle", 1, 0, 'i'},     {"connections", 1, 0, 'c'}, {"first", 1, 0, 'f'},
        {"login", 1, 0, 'l'},    {"secret", 1, 0, 's'},   {"source", 1, 0, 'o'},   {"heartbeat", 1, 0, 'b'},
        {"patience", 1, 0, 'e'}, {"seconds", 1, 0, 'S'},  {"logins", 1, 0, 'L'},
        {"floor", 0, 0, 'F'},    {"no-reports", 0, 0, 'R'}, {0, 0, 0, 0}};
    for (int one; (one = getopt_long(count, words, "", options, NULL)) != -1;)
        switch (one) {
        case 'p': given.port = atoi(optarg); break;
        case 'w': given.window = (uint32_t)atoi(optarg); break;
        case 'n': given.messages = (uint32_t)atoi(optarg); break;
        case 't': given.texts = optarg; break;
        case 'r': given.rate = atof(optarg); break;
        case 'i': given.idle = atoi(optarg); break;
        case 'c': given.connections = atoi(optarg); break;
        case 'f': given.first = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'l': given.login = optarg; break;
        case 's': given.secret = optarg; break;
        case 'o': given.source = optarg; break;
        case 'b': given.heartbeat = atof(optarg); break;
        case 'e': given.patience = atof(optarg); break;
        case 'S': given.stay = atof(optarg); break;
        case 'L': given.logins = atol(optarg); break;
        case 'F': given.is_floor = true; break;
        case 'R': given.wants_reports = false; break;
        default: return 2;
        }
    const char *mode = optind < count ? words[optind] : "";
    if (strlen(given.login) > 6 || strlen(given.secret) > 64 || strlen(given.source) > 20 || given.connections < 1) {
        fprintf(stderr, "load: login of 6 octets, secret of 64, source of 20 at most; a connection at least\n");
        return 2;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    poller = epoll_create1(0);
    seen = calloc(NUMBERS / 8, 1);
    if (seen == NULL)
        fail("memory");
    if (strcmp(mode, "sp") == 0 && given.texts != NULL)
        return sp_run();
    if (strcmp(mode, "smsc") == 0)
        return serve(smsc_frame);
    if (strcmp(mode, "floor") == 0)
        return serve(floor_frame);
    fprintf(stderr, "load: sp (with --texts), smsc or floor\n");
    return 2;
}
