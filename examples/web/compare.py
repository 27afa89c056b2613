#!/usr/bin/env python3
"""The service against the same work on rayon and on tokio's blocking threads: in peace, with too much load, and when clients leave.

`python3 examples/web/compare.py` builds what it needs and takes some minutes. The throughput in peace needs `wrk` (a package of Debian).
"""
import asyncio
import math
import re
import shutil
import statistics
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
ROUNDS = 3
DEADLINE = 0.5  # seconds, after which an answer is of no use
TINY, SMALL, LONG = 1_000, 150_000, 3_000_000


def build():
    command = ["cargo", "build", "--release", "-p", "web", "--bin", "web", "--example", "rivals", "--message-format=json"]
    built = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    programs = re.findall(r'"executable":"([^"]+)"', built)
    (web,), (rivals,) = ([it for it in programs if it.endswith(name)] for name in ("web", "rivals"))
    return {
        "formicary": [web, "--port=0", "--workers=2", "--per-client=256", f"--deadline={int(DEADLINE * 1000)}"],
        "rayon": [rivals, "rayon"],
        "blocking": [rivals, "blocking"],
    }


class Server:
    """A service that runs while it is open."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().rsplit(":", 1)[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    async def send(self, below):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"GET /primes/{below} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
        return reader, writer

    async def get(self, below):
        """The status, and after how many seconds."""
        start = time.monotonic()
        reader, writer = await self.send(below)
        head = await reader.read()
        writer.close()
        return int(head.split()[1]), time.monotonic() - start


def in_peace(server):
    """Requests per second of 16 connections, and the 99th percentile of their latency in milliseconds."""
    if not shutil.which("wrk"):
        return math.nan, math.nan
    url = f"http://127.0.0.1:{server.port}/primes/{TINY}"
    out = subprocess.run(["wrk", "-t1", "-c16", "-d4s", "--latency", url], capture_output=True, text=True, check=True).stdout
    number, unit = re.search(r"99%\s+([\d.]+)(\w+)", out).groups()
    milliseconds = float(number) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit]
    return float(re.search(r"Requests/sec:\s*(\S+)", out)[1]), milliseconds


async def capacity(server):
    """Requests per second that two threads can answer beside the client."""
    start, count = time.monotonic(), 0
    while time.monotonic() < start + 2:
        await asyncio.gather(*(server.get(SMALL) for _ in range(8)))
        count += 8
    return count / (time.monotonic() - start)


async def too_much(server):
    """Requests come twice as fast as they can be answered, for 4 s. How many are answered in time, are refused, and come too late?"""
    rate = 2 * await capacity(server)
    pending, start, n = [], time.monotonic(), 0
    while time.monotonic() < start + 4:
        await asyncio.sleep(max(0, start + n / rate - time.monotonic()))
        pending.append(asyncio.create_task(server.get(SMALL)))
        n += 1
    answers = await asyncio.gather(*pending)
    good = [seconds for status, seconds in answers if status == 200]
    in_time = sum(seconds <= DEADLINE for seconds in good)
    median = statistics.median(seconds for _, seconds in answers)
    return in_time / n, (n - len(good)) / n, (len(good) - in_time) / n, median


async def leave(server):
    """10 clients ask for something long and leave. After what time is the next one answered?"""
    gone = [await server.send(LONG) for _ in range(10)]
    await asyncio.sleep(0.1)
    for _, writer in gone:
        writer.transport.abort()
    start = time.monotonic()
    while (await server.get(TINY))[0] != 200:
        await asyncio.sleep(0.01)
    return time.monotonic() - start


def measure(command):
    with Server(command) as server:
        per_second, slowest = in_peace(server)
    with Server(command) as server:
        overload = asyncio.run(too_much(server))
    with Server(command) as server:
        return per_second, slowest, *overload, asyncio.run(leave(server))


def main():
    # In turn, since what else the machine does changes with time.
    programs = build()
    rounds = {name: [] for name in programs}
    for _ in range(ROUNDS):
        for name, command in programs.items():
            rounds[name].append(measure(command))
    print(f"Medians of {ROUNDS} rounds.\n")
    print("| | requests/s | 99 % | answered in time | refused | too late | median | next one after those who left |")
    print("|---|---|---|---|---|---|---|---|")
    for name, runs in rounds.items():
        per_second, slowest, in_time, refused, late, median, after = map(statistics.median, zip(*runs))
        shares = f"{in_time:.0%} | {refused:.0%} | {late:.0%} | {median:.2f} s"
        print(f"| {name} | {per_second:.0f} | {slowest:.1f} ms | {shares} | {after:.2f} s |")


main()
