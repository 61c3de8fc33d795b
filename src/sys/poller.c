#include "sys/poller.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

#define MOST 64

int ro_poller_open(void) {
  return epoll_create1(EPOLL_CLOEXEC);
}

static uint32_t interest(int input, int output) {
  return (input ? (uint32_t)EPOLLIN : 0) | (output ? (uint32_t)EPOLLOUT : 0);
}

int ro_poller_add(int poller, int fd, void *owner, int input) {
  struct epoll_event event = {.events = interest(input, !input), .data = {.ptr = owner}};
  return epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : errno;
}

void ro_poller_change(int poller, int fd, void *owner, int input, int output) {
  struct epoll_event event = {.events = interest(input, output), .data = {.ptr = owner}};
  epoll_ctl(poller, EPOLL_CTL_MOD, fd, &event);
}

void ro_poller_remove(int poller, int fd) {
  epoll_ctl(poller, EPOLL_CTL_DEL, fd, NULL);
}

int ro_poller_wait(int poller, ro_Ready *ready, int most, int milliseconds) {
  struct epoll_event events[MOST];
  int n = epoll_wait(poller, events, most < MOST ? most : MOST, milliseconds);
  for (int i = 0; i < n; i++) {
    ready[i].owner = events[i].data.ptr;
    ready[i].readable = (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0;
    ready[i].writable = (events[i].events & EPOLLOUT) != 0;
  }
  return n < 0 ? 0 : n;
}
