/* What the ends have in common: options, octets, and connections around one epoll. */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BODY = 80, NUMBERS = 100000000, UNBOUND = 64, EVENTS = 256 };

typedef struct {
    int port, connections, idle;
    uint32_t window, messages, first, seed;
    uint64_t first_id;
    double rate, heartbeat, patience, stay;
    long logins, expected; /* expected: reports that end a provider; -1: one for each message that was accepted */
    const char *texts, *login, *secret, *source;
    bool is_floor, is_smpp, is_deaf, wants_reports; /* of a provider */
    bool is_withholding, is_hex, is_mute;           /* of an SMSC */
} Given;

typedef struct {
    uint8_t *data;
    size_t size, room;
} Buffer;

typedef struct {
    int fd;
    bool is_bound, is_idle, is_deaf, waits_to_write;
    Buffer in, out;
    uint32_t sequence, in_flight;
    double *due;        /* by sequence: when its time began */
    double beat, asked; /* when the next heartbeat is due; when the one that is not answered was sent */
} Connection;

typedef void Handler(Connection *, const uint8_t *, uint32_t);

extern Given given;
extern int poller;
extern uint8_t *seen;

void md5(const uint8_t *text, size_t size, uint8_t digest[16]);

_Noreturn void fail(const char *what);
void put4(uint8_t *to, uint32_t value);
uint32_t get4(const uint8_t *from);
double seconds(void);
uint32_t name_of(const char *number, size_t most); /* the last eight digits: what a message is known by */
bool is_second(uint32_t name);

uint8_t *grow(Buffer *buffer, size_t more);
uint8_t *add(Connection *one, size_t size);
uint8_t *add_frame(Connection *one, uint32_t size, uint32_t command, uint32_t sequence); /* a header of 12 */
uint8_t *add_smpp(Connection *one, uint32_t size, uint32_t command, uint32_t sequence);  /* a header of 16 */
void flush(Connection *one);
bool read_frames(Connection *one, Handler *handle); /* false: the peer is gone */
void watch(Connection *one);

/* A provider's half of a protocol, for `sp.c`. */
void cmpp_log_in(Connection *one, int place);
void cmpp_submit(Connection *one, const char *destination, const uint8_t *body);
void cmpp_frame(Connection *one, const uint8_t *frame, uint32_t size);
void cmpp_beat(Connection *one);
void smpp_log_in(Connection *one, int place);
void smpp_submit(Connection *one, const char *destination, const uint8_t *body);
void smpp_frame(Connection *one, const uint8_t *frame, uint32_t size);
void smpp_beat(Connection *one);

/* What they tell it. */
void sp_bound(Connection *one, uint32_t status);
void sp_answered(Connection *one, uint32_t sequence, uint32_t status);
void sp_reported(uint32_t name, bool is_delivered);
void sp_beaten(Connection *one);

int sp_run(void);
int smsc_run(void);
int floor_run(void);
