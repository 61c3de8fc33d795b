#include "signals.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static const int handled[] = {SIGTERM, SIGINT, SIGCHLD};
enum { HANDLED = sizeof handled / sizeof *handled };

static int ends[2] = {-1, -1};

static void on_signal(int number) {
  int saved = errno;
  char byte = number == SIGCHLD ? SIGNALS_CHILD : SIGNALS_STOP;
  ssize_t ignored = write(ends[1], &byte, 1); /* full: it is readable then */
  (void)ignored;
  errno = saved;
}

static int handle_all(void (*handler)(int)) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  for (int i = 0; i < HANDLED; i++)
    if (sigaction(handled[i], &action, NULL) != 0)
      return -1;
  return 0;
}

/* What is told a worker is not for the host: else to terminate one would be to end the host. */
static void in_child(void) {
  handle_all(SIG_DFL);
  close(ends[0]);
  close(ends[1]);
}

int signals_open(void) {
  if (pipe(ends) != 0)
    return -1;
  for (int i = 0; i < 2; i++) {
    fcntl(ends[i], F_SETFD, FD_CLOEXEC);
    fcntl(ends[i], F_SETFL, O_NONBLOCK);
  }
  if (pthread_atfork(NULL, NULL, in_child) != 0 || handle_all(on_signal) != 0)
    return -1;
  return ends[0];
}

int signals_read(void) {
  char bytes[64];
  int all = 0;
  ssize_t count;
  while ((count = read(ends[0], bytes, sizeof bytes)) > 0)
    for (ssize_t i = 0; i < count; i++)
      all |= bytes[i];
  return all;
}
