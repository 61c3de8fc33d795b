/*
** What programs need that ThreadSanitizer watches while they run Lua; linked into them, beside a shared Lua.
**
** The runtime hands a signal to the program's handler only when the thread next calls a function that the runtime knows,
** which a loop in Lua never does. So a handler stands before the runtime's: when it interrupts code of Lua, it calls such a
** function in its place. That is sound since that code is not instrumented and never called by the runtime: the thread is
** outside of the runtime there, and may enter it. After a fork of a program with threads the runtime has no part in anything, and
** keeps signals for ever: there the program's handler is called at once.
**
** And the runtime must know of every longjmp, as it follows the stack.
*/
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define SIGNALS 65

/* What the kernel knows of a signal; the runtime's own functions would give what the program has asked for. */
typedef struct KernelAction {
  void (*handler)(int, siginfo_t *, void *);
  unsigned long flags;
  void (*restorer)(void);
  uint64_t mask;
} KernelAction;

static struct { uintptr_t first, end; } lua;

static KernelAction runtime[SIGNALS]; /* what is called in turn */
static int out_of_service;            /* is the runtime, in this process */
static struct sigaction program[SIGNALS];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static uintptr_t interrupted_at(const void *context) {
  const ucontext_t *c = context;
#if defined(__x86_64__)
  return (uintptr_t)c->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
  return (uintptr_t)c->uc_mcontext.pc;
#else
#error "where does the context of a signal have the instruction?"
#endif
}

static void call_program(int signo, siginfo_t *info, void *context) {
  const struct sigaction *action = &program[signo];
  if (action->sa_flags & SA_SIGINFO)
    action->sa_sigaction(signo, info, context);
  else
    action->sa_handler(signo);
}

static void stand_in(int signo, siginfo_t *info, void *context) {
  uintptr_t at = interrupted_at(context);
  int saved = errno;
  if (out_of_service) {
    call_program(signo, info, context);
    return;
  }
  runtime[signo].handler(signo, info, context);
  if (at >= lua.first && at < lua.end)
    raise(0); /* no signal at all, but the runtime knows the function */
  errno = saved;
}

static long kernel_action(int signo, const KernelAction *new, KernelAction *old) {
  return syscall(SYS_rt_sigaction, signo, new, old, sizeof new->mask);
}

/* Puts our handler before the runtime's, if that is what the kernel has now. */
static void stand_before(int signo) {
  KernelAction action;
  if (kernel_action(signo, NULL, &action) != 0 || action.handler == stand_in ||
      (uintptr_t)action.handler == (uintptr_t)SIG_DFL || (uintptr_t)action.handler == (uintptr_t)SIG_IGN)
    return;
  runtime[signo] = action;
  action.handler = stand_in;
  kernel_action(signo, &action, NULL);
}

/* ---- sigaction ---- */

/* The runtime's function, which it lets programs replace, and what replaces it. */
int ___interceptor_sigaction(int signo, const struct sigaction *new, struct sigaction *old);
int __interceptor_sigaction(int signo, const struct sigaction *new, struct sigaction *old);

static int change_action(int signo, const struct sigaction *new, struct sigaction *old) {
  struct sigaction before;
  int result = ___interceptor_sigaction(signo, new, &before);
  if (result != 0 || signo >= SIGNALS)
    return result;
  if (before.sa_sigaction == stand_in)
    before = program[signo];
  if (new != NULL) {
    program[signo] = *new;
    stand_before(signo);
  }
  if (old != NULL)
    *old = before;
  return 0;
}

int __interceptor_sigaction(int signo, const struct sigaction *new, struct sigaction *old) {
  sigset_t all, before;
  int result;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_mutex_lock(&mutex);
  result = change_action(signo, new, old);
  pthread_mutex_unlock(&mutex);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return result;
}

/* ---- fork ---- */

static volatile sig_atomic_t probed;

static void on_probe(int signo) {
  (void)signo;
  probed = 1;
}

/* Does the runtime still hand on what a thread sends itself? */
static int is_served(void) {
  struct sigaction probe = {.sa_handler = on_probe}, before;
  sigset_t only, mask;
  sigemptyset(&only);
  sigaddset(&only, SIGRTMAX);
  probed = 0;
  ___interceptor_sigaction(SIGRTMAX, &probe, &before);
  pthread_sigmask(SIG_UNBLOCK, &only, &mask);
  raise(SIGRTMAX);
  pthread_sigmask(SIG_SETMASK, &mask, NULL);
  ___interceptor_sigaction(SIGRTMAX, &before, NULL);
  return probed;
}

pid_t ___interceptor_fork(void);
pid_t __interceptor_fork(void);

pid_t __interceptor_fork(void) {
  pid_t pid = ___interceptor_fork();
  if (pid == 0 && !is_served())
    out_of_service = 1;
  return pid;
}

static void lock_all(void) {
  pthread_mutex_lock(&mutex);
}

static void unlock_all(void) {
  pthread_mutex_unlock(&mutex);
}

/* ---- what is Lua's, and the rest ---- */

/* Is `address` in what is mapped from this file? Then its code is Lua's. */
static int note_code(struct dl_phdr_info *info, size_t size, void *address) {
  (void)size;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *part = &info->dlpi_phdr[i];
    uintptr_t first = (uintptr_t)info->dlpi_addr + part->p_vaddr;
    if (part->p_type != PT_LOAD || !(part->p_flags & PF_X) || (uintptr_t)address - first >= part->p_memsz)
      continue;
    lua.first = first;
    lua.end = first + part->p_memsz;
    return 1;
  }
  return 0;
}

static int holds(uintptr_t address) {
  return address >= lua.first && address < lua.end;
}

__attribute__((constructor)) static void find_lua(void) {
  void *function = dlsym(RTLD_DEFAULT, "lua_newstate");
  dl_iterate_phdr(note_code, function);
  if (lua.first == 0 || holds((uintptr_t)&holds)) {
    fputs("tsan: Lua must be a shared library\n", stderr);
    abort();
  }
  pthread_atfork(lock_all, unlock_all, unlock_all);
}

/* What Lua calls where it was compiled with checks of its calls; the runtime knows the plain one. */
_Noreturn void __longjmp_chk(jmp_buf environment, int value);

__attribute__((visibility("default"))) _Noreturn void __longjmp_chk(jmp_buf environment, int value) {
  longjmp(environment, value);
}
