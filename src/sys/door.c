#include "sys/door.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/atfork.h"
#include "base/platform.h"
#include "sys/descriptor.h"
#include "sys/event.h"
#include "sys/life.h"

#define ENDS 3

/* Sockets that keep messages apart. Packets are what not every system has for local sockets. */
#if RO_LINUX
#define MESSAGES SOCK_SEQPACKET
#else
#define MESSAGES SOCK_DGRAM
#endif

struct ro_DoorPage {
  _Atomic uint64_t state;   /* generation, pid and phase in one word, so that they change together */
  _Atomic uint64_t born[2]; /* of the listener, by the parity of its generation */
  _Atomic uint64_t closed;  /* last generation that was closed in good order */
};

#define PHASE_BITS 2

static uint64_t packed(ro_DoorState s) {
  return s.generation << (RO_PID_BITS + PHASE_BITS) | (uint64_t)s.pid << PHASE_BITS | (uint64_t)s.phase;
}

static ro_DoorState unpacked(uint64_t word) {
  ro_DoorState s;
  s.generation = word >> (RO_PID_BITS + PHASE_BITS);
  s.pid = (pid_t)(word >> PHASE_BITS & ((UINT64_C(1) << RO_PID_BITS) - 1));
  s.phase = (ro_DoorPhase)(word & ((1 << PHASE_BITS) - 1));
  return s;
}

/* Makes the pair of sockets. Returns 0 or an errno. */
static int open_sockets(ro_Door *door) {
  int ends[2], error = ro_sockets_open(MESSAGES, ends);
  if (error != 0)
    return error;
  door->client_end = ends[0];
  door->listener_end = ends[1];
  error = ro_descriptor_unblock(door->client_end);
  return error != 0 ? error : ro_descriptor_unblock(door->listener_end);
}

int ro_door_open(ro_Door *door) {
  int error;
  memset(door, 0, sizeof *door);
  ro_event_init(&door->gate);
  door->life = door->client_end = door->listener_end = -1;
  door->page = mmap(NULL, sizeof *door->page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (door->page == MAP_FAILED) {
    door->page = NULL;
    return errno;
  }
  error = open_sockets(door);
  if (error == 0)
    error = ro_event_open(&door->gate);
  if (error != 0)
    ro_door_close(door);
  return error;
}

void ro_door_close(ro_Door *door) {
  ro_descriptor_close(&door->client_end);
  ro_descriptor_close(&door->listener_end);
  ro_event_close(&door->gate);
  ro_descriptor_close(&door->life);
  if (door->page != NULL)
    munmap(door->page, sizeof *door->page);
  door->page = NULL;
}

ro_DoorState ro_door_state(const ro_Door *door) {
  return unpacked(atomic_load(&door->page->state));
}

/* Does the process that `state` names live; keeps a descriptor for the next time. */
static int is_alive(ro_Door *door, ro_DoorState state) {
  if (state.pid == ro_pid())
    return 1;
  if (door->life < 0 || door->life_generation != state.generation) {
    uint64_t born = atomic_load(&door->page->born[state.generation & 1]);
    ro_descriptor_close(&door->life);
    door->life = ro_life_open(state.pid, state.phase == RO_DOOR_OPENING ? 0 : born);
    door->life_generation = state.generation;
    if (door->life < 0)
      return errno != ESRCH;
  }
  return ro_life_goes_on(door->life);
}

int ro_door_is_open(ro_Door *door, ro_DoorState *state) {
  ro_DoorState now = ro_door_state(door);
  if (state != NULL)
    *state = now;
  return now.phase == RO_DOOR_OPEN && is_alive(door, now);
}

int ro_door_closed_well(const ro_Door *door, uint64_t generation) {
  return atomic_load(&door->page->closed) >= generation;
}

int ro_door_claim(ro_Door *door, ro_DoorState *state) {
  uint64_t word = atomic_load(&door->page->state);
  for (;;) {
    ro_DoorState old = unpacked(word), mine;
    if (old.phase != RO_DOOR_FREE && is_alive(door, old)) {
      *state = old;
      return EBUSY;
    }
    mine.generation = old.generation + 1;
    mine.pid = ro_pid();
    mine.phase = RO_DOOR_OPENING;
    if (atomic_compare_exchange_strong(&door->page->state, &word, packed(mine))) {
      atomic_store(&door->page->born[mine.generation & 1], ro_life_born(mine.pid));
      ro_event_clear(&door->gate);
      *state = mine;
      return 0;
    }
  }
}

static void enter_phase(ro_Door *door, ro_DoorPhase phase) {
  ro_DoorState s = ro_door_state(door);
  s.phase = phase;
  atomic_store(&door->page->state, packed(s));
}

void ro_door_announce(ro_Door *door) {
  enter_phase(door, RO_DOOR_OPEN);
  ro_event_set(&door->gate);
}

void ro_door_shut(ro_Door *door) {
  enter_phase(door, RO_DOOR_CLOSING);
  ro_event_clear(&door->gate);
}

void ro_door_leave(ro_Door *door, int well) {
  if (well)
    atomic_store(&door->page->closed, ro_door_state(door).generation);
  enter_phase(door, RO_DOOR_FREE);
}

typedef union ControlSpace {
  struct cmsghdr head;
  char bytes[CMSG_SPACE(ENDS * sizeof(int))];
} ControlSpace;

int ro_door_post(ro_Door *door, uint64_t generation, const int ends[3]) {
  ControlSpace control;
  struct iovec data = {.iov_base = &generation, .iov_len = sizeof generation};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
  struct cmsghdr *head;
  ssize_t n;
  memset(&control, 0, sizeof control);
  message.msg_control = &control;
  message.msg_controllen = sizeof control;
  head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(ENDS * sizeof(int));
  memcpy(CMSG_DATA(head), ends, ENDS * sizeof(int));
  do {
    n = sendmsg(door->client_end, &message, MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  return n >= 0 ? 0 : errno;
}

/* Copies the descriptors that a message brought; returns how many. */
static int descriptors_of(struct msghdr *message, int ends[ENDS]) {
  struct cmsghdr *head = CMSG_FIRSTHDR(message);
  int count;
  if (head == NULL || head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
    return 0;
  count = (int)((head->cmsg_len - CMSG_LEN(0)) / sizeof(int));
  memcpy(ends, CMSG_DATA(head), (size_t)count * sizeof(int));
  return count;
}

int ro_door_accept(ro_Door *door, uint64_t generation, int ends[3]) {
  for (;;) {
    ControlSpace control;
    uint64_t meant_for = 0;
    struct iovec data = {.iov_base = &meant_for, .iov_len = sizeof meant_for};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    int count;
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    if (recvmsg(door->listener_end, &message, MSG_CMSG_CLOEXEC) < 0) {
      if (errno == EINTR)
        continue;
      return errno;
    }
    count = descriptors_of(&message, ends);
    if (count == ENDS && meant_for == generation)
      return 0;
    for (int i = 0; i < count; i++)
      close(ends[i]);
  }
}

void ro_door_mend_gate(ro_Door *door) {
  ro_event_clear(&door->gate);
  if (ro_door_is_open(door, NULL))
    ro_event_set(&door->gate);
}
