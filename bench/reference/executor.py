"""Python's concurrent.futures.ProcessPoolExecutor with one worker: a call of a function, and its result.

Each line of input is a count; the answer is a line with the seconds that so many calls took.
"""
import sys
import time
from concurrent.futures import ProcessPoolExecutor


def add(n):
    return n + 1


def main():
    with ProcessPoolExecutor(max_workers=1) as executor:
        for line in iter(sys.stdin.readline, ""):
            begin = time.monotonic()
            for _ in range(int(line)):
                executor.submit(add, 1).result()
            print(time.monotonic() - begin, flush=True)


if __name__ == "__main__":
    main()
