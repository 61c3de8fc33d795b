"""Python's multiprocessing.managers: calls of an object in another process, through a proxy.

Usage: managers.py call | echo
Each line of input is a count; the answer is a line with the seconds that so many calls took. `echo` sends
64 MiB there and back.
"""
import sys
import time
from multiprocessing.managers import BaseManager


class Counter:
    def __init__(self):
        self.count = 0

    def add(self, n):
        self.count += n
        return self.count

    def echo(self, data):
        return data


class Manager(BaseManager):
    pass


Manager.register("Counter", Counter)


def main(what):
    with Manager() as manager:
        counter = manager.Counter()
        operation, argument = (counter.echo, bytes(64 * 1024 * 1024)) if what == "echo" else (counter.add, 1)
        for line in iter(sys.stdin.readline, ""):
            begin = time.monotonic()
            for _ in range(int(line)):
                operation(argument)
            print(time.monotonic() - begin, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
