# What the runtimes of the sanitizers are told while specs run (sourced by make check-asan and the like). None of it hides
# anything of the library:
# - Specs have processes kill themselves by SIGSEGV, and want to see that.
# - luaposix's msgsnd reads behind what it has allocated.
# - Programs with threads start processes; TSan would end those.
# - Who ends by os.exit joins no threads, nor does a fork those of its parent. Threads that a state does not join when it is
#   closed are found by valgrind.
export ASAN_OPTIONS="handle_segv=0:suppressions='$PWD/spec/support/asan.supp'"
export UBSAN_OPTIONS="print_stacktrace=1"
export TSAN_OPTIONS="die_after_fork=0:handle_segv=0:report_thread_leaks=0:second_deadlock_stack=1"
