/* Both ends of a gateway under load, each as one thread around epoll, so that the machine's time goes to the gateway.

     load sp    --port P --window W --messages N --texts FILE ...   a provider, by CMPP 2.0: SUBMITs in, reports out
     load smsc  --port P ...                                        an SMSC, by SMPP 3.4: an id and a receipt for each
     load floor --port P                                            answers each request with a header of 12 octets

   `sp` keeps W SUBMITs in flight on each busy connection and refills as they are answered; with --rate it sends by the
   clock, and a message's time begins when it was due, so that waiting for the window is not hidden. --floor speaks to
   the floor: the same octets, no login, no reports. It ends when the last report is answered, or at SIGTERM, and prints
   one line of JSON. `smsc` prints its port, then one line of JSON for each SIGHUP, for each SIGUSR1 (and counts from
   zero), and at SIGTERM.

   --smpp is a transceiver of SMPP 3.4 in place of CMPP.
   --idle N adds connections that only send heartbeats, --seconds S stays at least so long.
   --logins K: how many logins were made before, because a digest is good for one.
   --expect N ends when N reports came: 0 leaves them to somebody else, who has them with --messages 0 --expect N.
   --deaf sends without a window and reads nothing after its login; says `stalled` when the sockets take no more.

   --withhold: the SMSC keeps the receipts until SIGUSR2, then they come shuffled (--seed) and --window at a time.
   --hex: it says ids in hexadecimal in its responses, in decimal in its receipts. --first-id: the first.
   --mute: it answers binds and nothing else.

   Both ends look at the last eight digits of the recipient: a second message or report with the same is counted.
   The layouts are those of CMPP 2.0 and SMPP 3.4; nothing here is shared with the gateway's own codecs. */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include "load.h"

Given given = {.connections = 1, .window = 16, .messages = 1000, .patience = 20, .login = "901234", .secret = "",
               .source = "10690001", .wants_reports = true, .expected = -1, .first_id = 1000000001, .seed = 1};

int main(int count, char **words)
{
    static const struct option options[] = {
        {"port", 1, 0, 'p'},     {"window", 1, 0, 'w'},   {"messages", 1, 0, 'n'},    {"texts", 1, 0, 't'},
        {"rate", 1, 0, 'r'},     {"idle", 1, 0, 'i'},     {"connections", 1, 0, 'c'}, {"first", 1, 0, 'f'},
        {"login", 1, 0, 'l'},    {"secret", 1, 0, 's'},   {"source", 1, 0, 'o'},      {"heartbeat", 1, 0, 'b'},
        {"patience", 1, 0, 'e'}, {"seconds", 1, 0, 'S'},  {"logins", 1, 0, 'L'},      {"expect", 1, 0, 'x'},
        {"seed", 1, 0, 'd'},     {"first-id", 1, 0, 'I'}, {"floor", 0, 0, 'F'},       {"no-reports", 0, 0, 'R'},
        {"smpp", 0, 0, 'P'},     {"deaf", 0, 0, 'D'},     {"withhold", 0, 0, 'W'},    {"hex", 0, 0, 'H'},
        {"mute", 0, 0, 'M'},     {0, 0, 0, 0}};
    for (int one; (one = getopt_long(count, words, "", options, NULL)) != -1;)
        switch (one) {
        case 'p': given.port = atoi(optarg); break;
        case 'w': given.window = (uint32_t)atoi(optarg); break;
        case 'n': given.messages = (uint32_t)strtoul(optarg, NULL, 10); break;
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
        case 'x': given.expected = atol(optarg); break;
        case 'd': given.seed = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'I': given.first_id = strtoull(optarg, NULL, 10); break;
        case 'F': given.is_floor = true; break;
        case 'R': given.wants_reports = false; break;
        case 'P': given.is_smpp = true; break;
        case 'D': given.is_deaf = true; break;
        case 'W': given.is_withholding = true; break;
        case 'H': given.is_hex = true; break;
        case 'M': given.is_mute = true; break;
        default: return 2;
        }
    const char *mode = optind < count ? words[optind] : "";
    size_t login = given.is_smpp ? 15 : 6, secret = given.is_smpp ? 8 : 64;
    if (strlen(given.login) > login || strlen(given.secret) > secret || strlen(given.source) > 20 ||
        given.connections < 1) {
        fprintf(stderr, "load: login of %zu octets, secret of %zu, source of 20 at most; one connection at least\n",
                login, secret);
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
        return smsc_run();
    if (strcmp(mode, "floor") == 0)
        return floor_run();
    fprintf(stderr, "load: sp (with --texts), smsc or floor\n");
    return 2;
}
