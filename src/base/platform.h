/*
** What the platform has beyond POSIX.1-2008 with its XSI option: each RO_HAS_ names one thing, and whoever
** uses it has another way at its side. Building with RO_NO_LINUX takes that other way on Linux too.
*/
#ifndef RO_PLATFORM_H
#define RO_PLATFORM_H

#if defined(__linux__) && !defined(RO_NO_LINUX)
#define RO_LINUX 1
#else
#define RO_LINUX 0
#endif

#define RO_HAS_AFFINITY RO_LINUX       /* sched_getaffinity */
#define RO_HAS_CREATION_FLAGS RO_LINUX /* pipe2, SOCK_CLOEXEC, MSG_CMSG_CLOEXEC */
#define RO_HAS_DLADDR RO_LINUX         /* and RTLD_NODELETE */
#define RO_HAS_EPOLL RO_LINUX
#define RO_HAS_EVENTFD RO_LINUX
#define RO_HAS_FPURGE RO_LINUX /* __fpurge */
#define RO_HAS_GETRANDOM RO_LINUX
#define RO_HAS_HUGE_PAGES RO_LINUX /* madvise with MADV_HUGEPAGE */
#define RO_HAS_MAP_ANONYMOUS RO_LINUX
#define RO_HAS_MEMFD RO_LINUX
#define RO_HAS_PARENT_SIGNAL RO_LINUX /* PR_SET_PDEATHSIG */
#define RO_HAS_PIDFD RO_LINUX
#define RO_HAS_PPOLL RO_LINUX
#define RO_HAS_QUEUE_TO_THREAD RO_LINUX /* rt_tgsigqueueinfo */
#define RO_HAS_WINDOW_SIZE RO_LINUX     /* TIOCGWINSZ */

/* A function of the C library that tells exit handlers the exit code. */
#if defined(__GLIBC__) && RO_LINUX
#define RO_HAS_ON_EXIT 1
#else
#define RO_HAS_ON_EXIT 0
#endif

/* Bits that hold any process id. */
#if RO_LINUX
#define RO_PID_BITS 22
#else
#define RO_PID_BITS 31
#endif

#endif
