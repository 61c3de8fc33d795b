#include "sys/door.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/atfork.h"
#include "base/clock.h"
#include "base/platform.h"
#include "sys/descriptor.h"
#include "sys/event.h"

#define ENDS 3

/* How long the end of a process may take that has closed its descriptors already. */
#define MOMENT (RO_SECOND / 25)

/* Sockets that keep messages apart. Packets are what not every system has for local sockets. */
#if RO_LINUX
#define MESSAGES SOCK_SEQPACKET
#else
#define MESSAGES SOCK_DGRAM
#endif

#if ATOMIC_LLONG_LOCK_FREE == 0
#error "processes share 64-bit words, which this machine can't change in one step"
#endif

struct ro_DoorPage {
  _Atomic uint64_t state; /* generation, pid and phase in one word, so that they change together */
  _Atomic uint64_t
      mark[2];             /* what the listener is known by (sys/tenure.h), by the parity of its generation */
  _Atomic uint64_t closed; /* last generation that was closed in good order */
  _Atomic uint64_t broken; /* last one that was not, as far as that was noticed */
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

uint64_t ro_new_id(void) {
  return (uint64_t)ro_now() << 22 | (uint64_t)ro_pid();
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
  door->client_end = door->listener_end = -1;
  door->page = ro_tenure_open(&door->tenure, sizeof *door->page);
  if (door->page == NULL)
    return errno;
  error = atomic_is_lock_free(&door->page->state) ? open_sockets(door) : ENOTSUP;
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
  ro_tenure_close(&door->tenure);
  if (door->page != NULL)
    munmap(door->page, sizeof *door->page);
  door->page = NULL;
}

ro_DoorState ro_door_state(const ro_Door *door) {
  return unpacked(atomic_load(&door->page->state));
}

/* Does the process that `state` names live. */
static int is_alive(ro_Door *door, ro_DoorState state) {
  uint64_t mark = 0;
  door->tenure.doubt = 0;
  if (state.pid == ro_pid())
    return 1;
  if (state.phase != RO_DOOR_OPENING)
    mark = atomic_load(&door->page->mark[state.generation & 1]);
  return ro_tenure_goes_on(&door->tenure, state.pid, state.generation, mark);
}

int ro_door_is_open(ro_Door *door, ro_DoorState *state) {
  ro_DoorState now = ro_door_state(door);
  if (state != NULL)
    *state = now;
  return now.phase == RO_DOOR_OPEN && is_alive(door, now);
}

int ro_door_blindness(const ro_Door *door) {
  return ro_tenure_error(&door->tenure);
}

int ro_door_doubt(const ro_Door *door) {
  return ro_tenure_doubt(&door->tenure);
}

int ro_door_lives(const ro_Door *door, uint64_t generation) {
  return ro_tenure_lasts(&door->tenure, generation);
}

void ro_door_await_end(const ro_Door *door, uint64_t generation) {
  int64_t deadline = ro_now() + MOMENT;
  while (ro_door_lives(door, generation) && ro_now() < deadline) {
    struct pollfd end;
    int64_t look = ro_door_watch(door, &end, deadline);
    poll(&end, 1, ro_milliseconds_until(look));
  }
}

int64_t ro_door_watch(const ro_Door *door, struct pollfd *p, int64_t deadline) {
  return ro_tenure_watch(&door->tenure, p, deadline);
}

int ro_door_closed_well(const ro_Door *door, uint64_t generation) {
  return atomic_load(&door->page->closed) >= generation && atomic_load(&door->page->broken) < generation;
}

int ro_door_claim(ro_Door *door, ro_DoorState *state) {
  uint64_t word = atomic_load(&door->page->state);
  for (;;) {
    ro_DoorState old = unpacked(word), mine;
    uint64_t mark;
    int error;
    if (old.phase != RO_DOOR_FREE && is_alive(door, old)) {
      *state = old;
      error = ro_door_doubt(door);
      return error != 0 ? error : EBUSY;
    }
    mine.generation = old.generation + 1;
    mine.pid = ro_pid();
    mine.phase = RO_DOOR_OPENING;
    error = ro_tenure_begin(&door->tenure, mine.generation, &mark);
    if (error != 0) {
      *state = ro_door_state(door);
      return error;
    }
    if (atomic_compare_exchange_strong(&door->page->state, &word, packed(mine))) {
      if (old.phase != RO_DOOR_FREE) /* before this one can be closed in good order */
        atomic_store(&door->page->broken, old.generation);
      atomic_store(&door->page->mark[mine.generation & 1], mark);
      ro_event_clear(&door->gate);
      *state = mine;
      return 0;
    }
    ro_tenure_end(&door->tenure, mine.generation);
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
  uint64_t generation = ro_door_state(door).generation;
  atomic_store(well ? &door->page->closed : &door->page->broken, generation);
  enter_phase(door, RO_DOOR_FREE);
  ro_tenure_end(&door->tenure, generation);
}

typedef union ControlSpace {
  struct cmsghdr head;
  char bytes[CMSG_SPACE(ENDS * sizeof(int))];
} ControlSpace;

int ro_door_post(ro_Door *door, const ro_Offer *offer, const int ends[3]) {
  ControlSpace control;
  struct iovec data = {.iov_base = (void *)(uintptr_t)offer, .iov_len = sizeof *offer};
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
  return n >= 0 ? 0 : errno == ENOBUFS ? EAGAIN : errno;
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

/* Receives one message and its descriptors, close-on-exec. Returns how many, or -1 with errno. */
static int receive(ro_Door *door, struct msghdr *message, int ends[ENDS]) {
#if RO_HAS_CREATION_FLAGS
  return recvmsg(door->listener_end, message, MSG_CMSG_CLOEXEC) < 0 ? -1 : descriptors_of(message, ends);
#else
  int count = -1;
  ro_atfork_hold();
  if (recvmsg(door->listener_end, message, 0) >= 0) {
    count = descriptors_of(message, ends);
    for (int i = 0; i < count; i++)
      ro_descriptor_hide(ends[i]);
  }
  ro_atfork_release();
  return count;
#endif
}

int ro_door_accept(ro_Door *door, uint64_t generation, ro_Offer *offer, int ends[3]) {
  for (;;) {
    ControlSpace control;
    struct iovec data = {.iov_base = offer, .iov_len = sizeof *offer};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    int count;
    memset(offer, 0, sizeof *offer);
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    count = receive(door, &message, ends);
    if (count < 0) {
      if (errno == EINTR)
        continue;
      return errno;
    }
    if (count == ENDS && offer->generation == generation)
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
