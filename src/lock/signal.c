#include "lock/signal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atfork.h"
#include "base/platform.h"
#include "lock/hook.h"

#if RO_HAS_QUEUE_TO_THREAD
#include <sys/syscall.h>
#endif

#define SIGNALS 128
#define NOBODY ((pthread_t)0)

/* A module that is loaded later may not use the compact model where the C library reserves no room for it. */
#if defined(__GLIBC__)
#define RO_HANDLER_TLS __attribute__((tls_model("initial-exec")))
#else
#define RO_HANDLER_TLS
#endif

/* ---- slots ---- */

/*
** Signal handlers and their previous ones belong to the process, so these are shared by all
** states; the mutex guards changes, the handler reads only atomics.
*/
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(ro_Slot *) slots;

ro_Slot *ro_slot_new(ro_Lock *lock) {
  ro_Slot *slot;
  pthread_mutex_lock(&mutex);
  for (slot = atomic_load(&slots); slot != NULL && slot->used; slot = slot->next)
    ;
  if (slot == NULL && (slot = calloc(1, sizeof *slot)) != NULL) {
    slot->next = atomic_load(&slots);
    atomic_store(&slots, slot);
  }
  if (slot != NULL) {
    slot->used = 1;
    slot->lock = lock;
  }
  pthread_mutex_unlock(&mutex);
  return slot;
}

void ro_slot_free(ro_Slot *slot) {
  ro_slot_release(slot);
  ro_slot_heed(slot, 0);
  pthread_mutex_lock(&mutex);
  slot->used = 0;
  slot->lock = NULL;
  pthread_mutex_unlock(&mutex);
}

void ro_slot_hold(ro_Slot *slot) {
  atomic_store(&slot->holder, pthread_self());
}

void ro_slot_release(ro_Slot *slot) {
  atomic_store(&slot->holder, NOBODY);
}

void ro_slot_heed(ro_Slot *slot, int heeds) {
  atomic_store(&slot->heeds, heeds);
}

static int queue_signal(int signo, const ro_Target *target);

/*
** In the handler: another process may have told the program of this lock something. The signal has come to any of the
** threads that don't block it.
*/
static void heed(ro_Slot *slot, int signo, pthread_t self) {
  const ro_Target *program = &slot->lock->program.target;
  ro_hook_called(slot->lock, pthread_equal(atomic_load(&slot->holder), self));
  if (!pthread_equal(program->native, self))
    queue_signal(signo, program);
}

/* In the handler: arms what this thread runs, as far as a lock wants that; `called`: who heeds other processes does. */
static void arm_slots(int signo, int called) {
  pthread_t self = pthread_self();
  for (ro_Slot *slot = atomic_load(&slots); slot != NULL; slot = slot->next) {
    if (called && atomic_load(&slot->heeds))
      heed(slot, signo, self);
    if (pthread_equal(atomic_load(&slot->holder), self))
      ro_hook_arm(slot->lock, 1);
  }
}

/* ---- the handler ---- */

/*
** What to do with signals that are not ours. Never freed, since a handler may be reading it;
** equal ones are shared.
*/
typedef struct Previous {
  struct Previous *next;
  struct sigaction action;
} Previous;

static Previous *known; /* guarded by the mutex */
static _Atomic(const Previous *) previous[SIGNALS];
static RO_HANDLER_TLS _Thread_local volatile sig_atomic_t passing_on;
static RO_HANDLER_TLS _Thread_local volatile unsigned arrived;

unsigned ro_signal_arrived(void) {
  return arrived;
}

/* Stands for the previous action where there is none: the default one. */
static void take_default_action(int signo) {
  if (signo == SIGURG || signo == SIGCHLD || signo == SIGCONT)
    return;
#ifdef SIGWINCH
  if (signo == SIGWINCH)
    return;
#endif
  signal(signo, SIG_DFL);
  raise(signo); /* delivered when the handler returns */
}

static void pass_on(int signo, siginfo_t *info, void *context) {
  const Previous *p = atomic_load(&previous[signo]);
  if (p == NULL || (!(p->action.sa_flags & SA_SIGINFO) && p->action.sa_handler == SIG_DFL)) {
    take_default_action(signo);
    return;
  }
  if (p->action.sa_flags & (int)SA_RESETHAND)
    atomic_store(&previous[signo], NULL);
  if (p->action.sa_flags & SA_SIGINFO)
    p->action.sa_sigaction(signo, info, context);
  else if (p->action.sa_handler != SIG_IGN)
    p->action.sa_handler(signo);
}

/* Signals of the library to processes and, where that is possible, to threads carry an address that nobody else sends. */
static int carries(const siginfo_t *info, const void *address) {
  return info->si_code == SI_QUEUE && info->si_value.sival_ptr == address;
}

void *ro_signal_call_mark(void) {
  return (void *)&mutex;
}

/* Where a signal has come from. */
typedef enum Origin { FOREIGN, THREAD, CALL } Origin;

#if RO_HAS_QUEUE_TO_THREAD

static Origin origin_of(const siginfo_t *info) {
  if (carries(info, &slots))
    return THREAD;
  return carries(info, &mutex) ? CALL : FOREIGN;
}

#else

/* Of so many sendings to a thread, if none has arrived meanwhile, only the first is one: it may have been lost by then. */
#define SENDINGS 8

/*
** How often a signal of ours was sent to this thread since the last arrived; 0: none is under way. It is taken
** for the first that comes, whose ever that is; the program's handler gets as many as were meant for it.
*/
static RO_HANDLER_TLS _Thread_local atomic_int expected;

/* What was taken for lost may have arrived just before it was sent again: then one more comes. */
static RO_HANDLER_TLS _Thread_local volatile sig_atomic_t one_more;

static Origin origin_of(const siginfo_t *info) {
  int sendings, ours;
  if (carries(info, &mutex))
    return CALL;
  sendings = atomic_exchange(&expected, 0);
  ours = sendings > 0 || one_more;
  one_more = sendings > SENDINGS;
  return ours ? THREAD : FOREIGN;
}

#endif

/*
** A handler of the program's that was put over this one may call it in turn, and be called by
** it: `passing_on` breaks the circle.
*/
static void on_signal(int signo, siginfo_t *info, void *context) {
  int saved = errno;
  Origin origin = origin_of(info);
  arm_slots(signo, origin != THREAD); /* of several signals to a process only the first may have come */
  if (origin != FOREIGN)
    arrived++;
  else if (!passing_on) {
    passing_on = 1;
    pass_on(signo, info, context);
    passing_on = 0;
  }
  errno = saved;
}

/* ---- installing ---- */

int ro_signal_usable(int signo) {
  switch (signo) {
  case SIGKILL:
  case SIGSTOP:
  case SIGSEGV:
  case SIGBUS:
  case SIGFPE:
  case SIGILL:
  case SIGTRAP:
  case SIGABRT:
    return 0;
  default: {
    struct sigaction now;
    return signo > 0 && signo < SIGNALS && sigaction(signo, NULL, &now) == 0;
  }
  }
}

/* The shared description of `action`, made if there is none; NULL when memory is short. With the mutex held.
 */
static const Previous *describe(const struct sigaction *action) {
  Previous *p;
  for (p = known; p != NULL; p = p->next)
    if (p->action.sa_flags == action->sa_flags &&
        (action->sa_flags & SA_SIGINFO ? p->action.sa_sigaction == action->sa_sigaction
                                       : p->action.sa_handler == action->sa_handler))
      return p;
  p = calloc(1, sizeof *p);
  if (p != NULL) {
    p->action = *action;
    p->next = known;
    known = p;
  }
  return p;
}

static int is_installed(const struct sigaction *action) {
  return (action->sa_flags & SA_SIGINFO) && action->sa_sigaction == on_signal;
}

static int install(int signo, const struct sigaction *now) {
  const Previous *before = describe(now);
  struct sigaction ours;
  if (before == NULL)
    return ENOMEM;
  atomic_store(&previous[signo], before);
  memset(&ours, 0, sizeof ours);
  ours.sa_sigaction = on_signal;
  ours.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
  sigfillset(&ours.sa_mask); /* no other handler in the middle of setting a hook */
  return sigaction(signo, &ours, NULL) == 0 ? 0 : errno;
}

int ro_signal_install(int signo) {
  struct sigaction now;
  int e = 0;
  if (sigaction(signo, NULL, &now) != 0)
    return errno;
  if (is_installed(&now))
    return 0;
  pthread_mutex_lock(&mutex);
  if (sigaction(signo, NULL, &now) != 0)
    e = errno;
  else if (!is_installed(&now))
    e = install(signo, &now);
  pthread_mutex_unlock(&mutex);
  return e;
}

int ro_signal_prepare(int signo) {
  struct sigaction now;
  int e = 0;
  if (sigaction(signo, NULL, &now) != 0)
    return errno;
  pthread_mutex_lock(&mutex);
  if (!is_installed(&now) && describe(&now) == NULL)
    e = ENOMEM;
  pthread_mutex_unlock(&mutex);
  return e;
}

/* ---- sending ---- */

#if RO_HAS_QUEUE_TO_THREAD

/* The kernel's name of this thread, asked for once; 0: not yet, or forked since. */
static _Thread_local pid_t own_id;

ro_Target ro_signal_self(void) {
  ro_Target self;
  if (own_id == 0)
    own_id = (pid_t)syscall(SYS_gettid);
  self.native = pthread_self();
  self.id = own_id;
  self.expected = NULL;
  return self;
}

static int queue_signal(int signo, const ro_Target *target) {
  siginfo_t info;
  memset(&info, 0, sizeof info);
  info.si_signo = signo;
  info.si_code = SI_QUEUE;
  info.si_pid = getpid();
  info.si_uid = getuid();
  info.si_value.sival_ptr = (void *)&slots;
  return syscall(SYS_rt_tgsigqueueinfo, info.si_pid, target->id, signo, &info) == 0 ? 0 : errno;
}

void ro_signal_in_child(void) {
  own_id = 0;
  pthread_mutex_init(&mutex, NULL);
}

#else

ro_Target ro_signal_self(void) {
  ro_Target self = {pthread_self(), 0, &expected};
  return self;
}

/* The C library has a lock of the target meanwhile; if that forked now nobody could send it a signal in its child. */
static int queue_signal(int signo, const ro_Target *target) {
  int e;
  if (atomic_fetch_add(target->expected, 1) % SENDINGS != 0)
    return 0;
  ro_atfork_hold();
  e = pthread_kill(target->native, signo);
  ro_atfork_release();
  if (e != 0)
    atomic_store(target->expected, 0);
  return e;
}

void ro_signal_in_child(void) {
  atomic_store(&expected, 0);
  one_more = 0;
  pthread_mutex_init(&mutex, NULL);
}

#endif

int ro_signal_send(int signo, const ro_Target *target) {
  int e = ro_signal_install(signo);
  return e != 0 ? e : queue_signal(signo, target);
}

void ro_signal_unblock(int signo) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signo);
  pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}
