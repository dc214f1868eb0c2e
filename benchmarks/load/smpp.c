/* SMPP 3.4, a provider's half: one transceiver a connection. Nothing here is shared with the gateway's own codecs. */

#define _GNU_SOURCE
#include <string.h>

#include "load.h"

static uint8_t *put_text(uint8_t *to, const char *text)
{
    size_t size = strlen(text) + 1;
    memcpy(to, text, size);
    return to + size;
}

void smpp_log_in(Connection *one, int place)
{
    (void)place;
    uint32_t size = (uint32_t)(16 + strlen(given.login) + 1 + strlen(given.secret) + 1 + 1 + 3 + 1);
    uint8_t *at = add_smpp(one, size, 9, ++one->sequence) + 16; /* bind_transceiver */
    at = put_text(put_text(at, given.login), given.secret);
    at[1] = 0x34; /* after an empty system_type */
}

void smpp_submit(Connection *one, const char *destination, const uint8_t *body)
{
    uint32_t size = (uint32_t)(16 + 1 + 2 + strlen(given.source) + 1 + 2 + strlen(destination) + 1 + 3 + 2 + 5 + BODY);
    uint8_t *at = add_smpp(one, size, 4, ++one->sequence) + 17;
    at[1] = 1; /* the numbering plan is E.164, the type of number unknown: as the other protocols say it */
    at = put_text(at + 2, given.source);
    at[1] = 1;
    at = put_text(at + 2, destination) + 3 + 2;
    at[0] = given.wants_reports;
    at[2] = 8; /* UCS-2 */
    at[4] = BODY;
    memcpy(at + 5, body, BODY);
}

void smpp_beat(Connection *one)
{
    add_smpp(one, 16, 0x15, ++one->sequence);
}

static void hear_deliver(const uint8_t *frame, uint32_t size)
{
    const char *end = (const char *)frame + size, *at = (const char *)frame + 16;
    at += strnlen(at, (size_t)(end - at)) + 1 + 2; /* service_type; the number's type and plan */
    const char *from = at;
    if (at < end)
        at += strnlen(at, (size_t)(end - at)) + 1 + 2;
    if (at < end)
        at += strnlen(at, (size_t)(end - at)) + 1;
    if (at >= end || (*at & 0x3c) != 4) /* esm_class: a receipt */
        return;
    sp_reported(name_of(from, (size_t)(end - from)), memmem(at, (size_t)(end - at), "stat:DELIVRD", 12) != NULL);
}

void smpp_frame(Connection *one, const uint8_t *frame, uint32_t size)
{
    if (size < 16)
        return;
    uint32_t command = get4(frame + 4), status = get4(frame + 8), sequence = get4(frame + 12);
    if (command == 0x80000004)
        sp_answered(one, sequence, status);
    else if (command == 5) {
        add_smpp(one, 17, 0x80000005, sequence);
        hear_deliver(frame, size);
    } else if (command == 0x15)
        add_smpp(one, 16, 0x80000015, sequence);
    else if (command == 0x80000015)
        sp_beaten(one);
    else if (command == 0x80000009)
        sp_bound(one, status);
}
