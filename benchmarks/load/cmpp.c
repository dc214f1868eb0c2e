/* CMPP 2.0, a provider's half. Nothing here is shared with the gateway's own codecs. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "load.h"

void cmpp_log_in(Connection *one, int place)
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
}

void cmpp_submit(Connection *one, const char *destination, const uint8_t *body)
{
    uint8_t *at = add_frame(one, 239, 4, ++one->sequence);
    at[20] = at[21] = 1;
    at[22] = given.wants_reports;
    at[58] = 8;
    memcpy(at + 59, given.login, strlen(given.login));
    memcpy(at + 65, "01", 2);
    memcpy(at + 107, given.source, strlen(given.source));
    at[128] = 1;
    memcpy(at + 129, destination, 11);
    at[150] = BODY;
    memcpy(at + 151, body, BODY);
}

void cmpp_beat(Connection *one)
{
    add_frame(one, 12, 8, ++one->sequence);
}

void cmpp_frame(Connection *one, const uint8_t *frame, uint32_t size)
{
    uint32_t command = get4(frame + 4), sequence = get4(frame + 8);
    if (command == 0x80000004)
        sp_answered(one, sequence, given.is_floor ? 0 : frame[20]);
    else if (command == 5) {
        uint8_t *answer = add_frame(one, 21, 0x80000005, sequence);
        memcpy(answer + 12, frame + 12, 8);
        if (size >= 137 && frame[75] == 1)
            sp_reported(name_of((const char *)frame + 112, 21), memcmp(frame + 85, "DELIVRD", 7) == 0);
    } else if (command == 8)
        add_frame(one, 13, 0x80000008, sequence);
    else if (command == 0x80000008)
        sp_beaten(one);
    else if (command == 0x80000001)
        sp_bound(one, size < 13 ? 255 : frame[12]);
}
