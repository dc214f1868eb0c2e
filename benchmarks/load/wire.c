/* Octets, the clock, and connections that are written and read without waiting. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#include "load.h"

int poller;
uint8_t *seen;

void put4(uint8_t *to, uint32_t value)
{
    value = htonl(value);
    memcpy(to, &value, 4);
}

uint32_t get4(const uint8_t *from)
{
    uint32_t value;
    memcpy(&value, from, 4);
    return ntohl(value);
}

double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

uint32_t name_of(const char *number, size_t most)
{
    size_t size = strnlen(number, most);
    uint32_t name = 0;
    for (size_t k = size > 8 ? size - 8 : 0; k < size; k++)
        name = name * 10 + (uint32_t)(number[k] - '0') % 10;
    return name % NUMBERS;
}

bool is_second(uint32_t name)
{
    bool was = seen[name / 8] >> name % 8 & 1;
    seen[name / 8] |= (uint8_t)(1 << name % 8);
    return was;
}

_Noreturn void fail(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(2);
}

uint8_t *grow(Buffer *buffer, size_t more)
{
    if (buffer->size + more > buffer->room) {
        buffer->room = (buffer->size + more) * 2 + 4096;
        buffer->data = realloc(buffer->data, buffer->room);
        if (buffer->data == NULL)
            fail("memory");
    }
    return buffer->data + buffer->size;
}

uint8_t *add(Connection *one, size_t size)
{
    uint8_t *at = grow(&one->out, size);
    memset(at, 0, size);
    one->out.size += size;
    return at;
}

uint8_t *add_frame(Connection *one, uint32_t size, uint32_t command, uint32_t sequence)
{
    uint8_t *at = add(one, size);
    put4(at, size);
    put4(at + 4, command);
    put4(at + 8, sequence);
    return at;
}

uint8_t *add_smpp(Connection *one, uint32_t size, uint32_t command, uint32_t sequence)
{
    uint8_t *at = add_frame(one, size, command, 0);
    put4(at + 12, sequence);
    return at;
}

void flush(Connection *one)
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
        struct epoll_event wanted = {(one->is_deaf ? 0 : EPOLLIN) | (one->waits_to_write ? EPOLLOUT : 0), {.ptr = one}};
        epoll_ctl(poller, EPOLL_CTL_MOD, one->fd, &wanted);
    }
}

bool read_frames(Connection *one, Handler *handle)
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

void watch(Connection *one)
{
    int on = 1;
    setsockopt(one->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(one->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event wanted = {EPOLLIN, {.ptr = one}};
    epoll_ctl(poller, EPOLL_CTL_ADD, one->fd, &wanted);
}
