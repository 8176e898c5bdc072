#!/usr/bin/env python3
"""Small files through a mount, by one or several processes: two builds, each with a cluster of its own on this
machine, in turn; how many a second, the ratio round for round, and what an operation costs: requests of the
kernel, calls of the metadata service, and the times that a thread of each daemon went to sleep (its
voluntary context switches), which other load on the machine does not change. Needs root (it drops caches).

usage: small_files.py BIN [OTHER] [--rounds N] [--files N] [--processes N] [--dir DIR]

BIN, OTHER: where sheaf and its daemons are; ratios are BIN's rate to OTHER's. DIR: on the disk to measure.
"""

import argparse
import glob
import multiprocessing
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
import tomllib
import urllib.request

SIZE = 16 << 10
DAEMONS = ("mount", "meta", "storage-0")
BACKGROUND_CALLS = ("heartbeat", "watch_map", "renew_session", "get_map")


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as out:
        out.write("3\n")
    time.sleep(1.1)  # what the kernel trusts for a second is forgotten


class Cluster:
    """One metadata and one storage server, and a mount."""

    def __init__(self, binaries, directory):
        self.sheaf = os.path.join(os.path.abspath(binaries), "sheaf")
        self.directory = directory
        self.root = os.path.join(directory, "mnt", "bench")
        subprocess.run([self.sheaf, "up", "--dir", directory, "--storage", "1"], check=True,
                       stdout=subprocess.DEVNULL)
        os.mkdir(self.root)

    def down(self):
        subprocess.run([self.sheaf, "down", "--dir", self.directory], check=False,
                       stdout=subprocess.DEVNULL)

    def counters(self, daemon, metric, label):
        with open(os.path.join(self.directory, "config", daemon + ".toml"), "rb") as file:
            address = tomllib.load(file)["metrics"]
        text = urllib.request.urlopen(f"http://{address}/metrics", timeout=10).read().decode()
        found = {}
        for labels, value in re.findall(r"^" + metric + r"\{([^}]*)\} ([0-9.e+]+)$", text, re.M):
            name = dict(re.findall(r'(\w+)="([^"]*)"', labels))[label]
            found[name] = found.get(name, 0) + float(value)
        return found

    def sleeps(self, daemon):
        """By the names of its threads."""
        with open(os.path.join(self.directory, "run", daemon + ".pid")) as file:
            pid = int(file.read().split()[0])
        found = {}
        for path in glob.glob(f"/proc/{pid}/task/*/status"):
            try:
                with open(path) as file:
                    text = file.read()
            except FileNotFoundError:
                continue
            name = re.match(r"Name:\s+(\S+)", text)[1]
            count = int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.M)[1])
            found[name] = found.get(name, 0) + count
        return found

    def spent(self):
        """What was spent so far, by kind and name."""
        counts = {f"sleep {daemon}/{name}": count for daemon in DAEMONS
                  for name, count in self.sleeps(daemon).items()}
        for name, value in self.counters("mount", "sheaf_fuse_requests_total", "operation").items():
            counts["kernel " + name] = value
        for name, value in self.counters("meta", "sheaf_meta_calls_total", "call").items():
            if name not in BACKGROUND_CALLS:
                counts["meta " + name] = value
        return counts


def create(names):
    data = os.urandom(SIZE)
    for name in names:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(fd, data)
        os.close(fd)


def read(names):
    for name in names:
        fd = os.open(name, os.O_RDONLY)
        assert len(os.read(fd, SIZE + 1)) == SIZE
        os.close(fd)


def unlink(names):
    for name in names:
        os.unlink(name)


# name, what is done with each file, whether the caches are dropped first
PHASES = (
    ("create, write, close", create, False),
    ("open, read, close, cold", read, True),
    ("open, read, close, again", read, False),
    ("unlink", unlink, False),
)


def seconds(work, names, processes):
    if processes == 1:
        start = time.monotonic()
        work(names)
        return time.monotonic() - start
    workers = [multiprocessing.Process(target=work, args=(names[i::processes],)) for i in range(processes)]
    start = time.monotonic()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    return time.monotonic() - start


class Side:
    def __init__(self, cluster):
        self.cluster = cluster
        self.rates = {name: [] for name, _, _ in PHASES}
        self.costs = {name: [] for name, _, _ in PHASES}

    def run(self, phase, names, processes):
        name, work, cold = phase
        if cold:
            drop_caches()
        before = self.cluster.spent()
        took = seconds(work, names, processes)
        after = self.cluster.spent()
        self.rates[name].append(len(names) / took)
        self.costs[name].append({key: (after[key] - before.get(key, 0)) / len(names) for key in after})

    def show_costs(self, name):
        rounds = self.costs[name]
        keys = set().union(*rounds)
        medians = {key: statistics.median(one.get(key, 0) for one in rounds) for key in keys}
        for kind in ("kernel", "meta", "sleep"):
            parts = [f"{key.split(' ', 1)[1]} {value:.2f}" for key, value in sorted(medians.items())
                     if key.startswith(kind + " ") and value >= 0.05]
            print(f"    {kind:6s} {', '.join(parts) or 'none'}")
        print(f"    sleeps in all {sum(v for k, v in medians.items() if k.startswith('sleep ')):.2f}")


def spread(values):
    return f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binaries")
    parser.add_argument("other", nargs="?")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--dir", default="/var/tmp")
    arguments = parser.parse_args()
    sides = []
    directories = []
    try:
        for binaries in filter(None, (arguments.binaries, arguments.other)):
            directories.append(tempfile.mkdtemp(prefix="sheaf-small-files.", dir=arguments.dir))
            sides.append(Side(Cluster(binaries, directories[-1])))
        for number in range(arguments.rounds):
            folders = []
            for side in sides:
                folder = os.path.join(side.cluster.root, f"round{number}")
                os.mkdir(folder)
                folders.append([os.path.join(folder, f"f{i:06d}") for i in range(arguments.files)])
            for at, phases in enumerate((PHASES[:1], PHASES[1:3], PHASES[3:])):
                turn = list(zip(sides, folders))
                if (number + at) % 2 == 1:
                    turn.reverse()
                for side, names in turn:
                    for phase in phases:
                        side.run(phase, names, arguments.processes)
        for name, _, _ in PHASES:
            print(f"{name}, a second: " + " beside ".join(spread(side.rates[name]) for side in sides))
            if len(sides) == 2:
                ratios = [a / b for a, b in zip(sides[0].rates[name], sides[1].rates[name])]
                print(f"  ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
            for side in sides:
                side.show_costs(name)
    finally:
        for side in sides:
            side.cluster.down()
        for directory in directories:
            shutil.rmtree(directory, ignore_errors=True)


main()
