/* The poller where there is epoll: its descriptor is one that can itself be watched. */
#include "sys/poller.h"

#if RO_HAS_EPOLL

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "sys/descriptor.h"

#define MOST 64

int ro_poller_open(ro_Poller *poller) {
  poller->fd = epoll_create1(EPOLL_CLOEXEC);
  return poller->fd >= 0 ? 0 : errno;
}

void ro_poller_close(ro_Poller *poller) {
  ro_descriptor_close(&poller->fd);
}

void ro_poller_forget(ro_Poller *poller) {
  ro_descriptor_close(&poller->fd);
}

void ro_poller_discard(ro_Poller *poller) {
  (void)poller;
}

int ro_poller_fileno(ro_Poller *poller) {
  return poller->fd;
}

static uint32_t interest(int input, int output) {
  return (input ? (uint32_t)EPOLLIN : 0) | (output ? (uint32_t)EPOLLOUT : 0);
}

int ro_poller_add(ro_Poller *poller, int fd, void *owner, int input) {
  struct epoll_event event = {.events = interest(input, !input), .data = {.ptr = owner}};
  return epoll_ctl(poller->fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : errno;
}

int ro_poller_change(ro_Poller *poller, int fd, void *owner, int input, int output) {
  struct epoll_event event = {.events = interest(input, output), .data = {.ptr = owner}};
  return epoll_ctl(poller->fd, EPOLL_CTL_MOD, fd, &event) == 0 ? 0 : errno;
}

void ro_poller_remove(ro_Poller *poller, int fd) {
  epoll_ctl(poller->fd, EPOLL_CTL_DEL, fd, NULL);
}

int ro_poller_wait(ro_Poller *poller, ro_Ready *ready, int most, int milliseconds) {
  struct epoll_event events[MOST];
  int n;
  do { /* a mere look that tells of nothing says that there is nothing */
    n = epoll_wait(poller->fd, events, most < MOST ? most : MOST, milliseconds);
  } while (n < 0 && errno == EINTR && milliseconds == 0);
  for (int i = 0; i < n; i++) {
    ready[i].owner = events[i].data.ptr;
    ready[i].readable = (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0;
    ready[i].writable = (events[i].events & EPOLLOUT) != 0;
  }
  return n < 0 ? 0 : n;
}

#endif
