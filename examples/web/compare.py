#!/usr/bin/env python3
"""The service against the same work on rayon and on tokio's blocking threads: in peace, with too much load, when clients leave, and at
its end.

`python3 examples/web/compare.py` builds what it needs and takes some minutes. The throughput in peace needs `wrk` (a package of Debian).
"""
import asyncio
import math
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
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


# Percentiles in microseconds.
REPORT = """function done(_, latency)
    for _, p in ipairs({50, 99, 99.9}) do print("percentile " .. latency:percentile(p)) end
end"""


def in_peace(server):
    """Requests per second of 16 connections, and three percentiles of their latency in milliseconds."""
    if not shutil.which("wrk"):
        return [math.nan] * 4
    url = f"http://127.0.0.1:{server.port}/primes/{TINY}"
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(REPORT)
        script.flush()
        command = ["wrk", "-t1", "-c16", "-d4s", "-s", script.name, url]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    percentiles = [float(number) / 1000 for number in re.findall(r"percentile (\S+)", out)]
    return [float(re.search(r"Requests/sec:\s*(\S+)", out)[1]), *percentiles]


async def capacity(server):
    """Requests per second that two threads can answer beside the client."""
    start, count = time.monotonic(), 0
    while time.monotonic() < start + 2:
        await asyncio.gather(*(server.get(SMALL) for _ in range(8)))
        count += 8
    return count / (time.monotonic() - start)


async def too_much(server):
    """Requests come twice as fast as they can be answered, for 4 s. How many are answered in time, are refused, and come too late? And how
    many MiB has the process had?
    """
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
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    peak = int(re.search(r"VmHWM:\s*(\d+)", status)[1]) / 1024
    return in_time / n, (n - len(good)) / n, (len(good) - in_time) / n, median, peak


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


async def terminate(server):
    """20 requests are under way when SIGTERM comes. How many get no answer?"""
    requests = [asyncio.create_task(server.get(SMALL)) for _ in range(20)]
    await asyncio.sleep(0.05)
    server.process.send_signal(signal.SIGTERM)
    answers = await asyncio.gather(*requests, return_exceptions=True)
    return sum(isinstance(answer, Exception) for answer in answers)


def measure(command):
    with Server(command) as server:
        peace = in_peace(server)
    with Server(command) as server:
        overload = asyncio.run(too_much(server))
    with Server(command) as server:
        after = asyncio.run(leave(server))
    with Server(command) as server:
        return *peace, *overload, after, asyncio.run(terminate(server))


def main():
    # In turn, since what else the machine does changes with time.
    programs = build()
    rounds = {name: [] for name in programs}
    for _ in range(ROUNDS):
        for name, command in programs.items():
            rounds[name].append(measure(command))
    print(f"Medians of {ROUNDS} rounds.\n")
    print("| | requests/s | 50, 99 and 99.9 % | in time | refused | too late | median | memory | next one after those who left | lost at the end |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, runs in rounds.items():
        per_second, *percentiles, in_time, refused, late, median, peak, after, lost = map(statistics.median, zip(*runs))
        peace = f"{per_second:.0f} | {', '.join(f'{it:.1f}' for it in percentiles)} ms"
        overload = f"{in_time:.0%} | {refused:.0%} | {late:.0%} | {median:.2f} s | {peak:.0f} MiB"
        print(f"| {name} | {peace} | {overload} | {after:.2f} s | {lost:.0f} of 20 |")


main()
