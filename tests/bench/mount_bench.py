#!/usr/bin/env python3
"""Plain POSIX calls through a real mount over a cluster on this machine: how many a second, and how many
calls of the metadata service each costs. Needs root (it drops the page cache).

usage: mount_bench.py BIN [DIR] [--files N] [--small MIB] [--large MIB]

BIN: where sheaf and its daemons are. DIR: on the disk to measure (default: under /var/tmp).
"""

import argparse
import os
import re
import shutil
import subprocess
import tempfile
import time
import tomllib
import urllib.request
from concurrent.futures import ThreadPoolExecutor

KIB = 1 << 10
MIB = 1 << 20


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as out:
        out.write("3\n")


class Cluster:
    """One metadata and one storage server, with metrics, and a mount."""

    def __init__(self, binaries, directory):
        self.sheaf = os.path.join(binaries, "sheaf")
        self.directory = directory
        self.mount = os.path.join(directory, "mnt")
        self.up()
        self.metrics = self.metrics_address()

    def up(self):
        subprocess.run([self.sheaf, "up", "--dir", self.directory, "--storage", "1"], check=True,
                       stdout=subprocess.DEVNULL)

    def down(self):
        subprocess.run([self.sheaf, "down", "--dir", self.directory], check=False,
                       stdout=subprocess.DEVNULL)

    def metrics_address(self):
        with open(os.path.join(self.directory, "config", "meta.toml"), "rb") as file:
            return f"http://{tomllib.load(file)['metrics']}/metrics"

    def calls(self):
        """Calls of the metadata service so far, by name."""
        text = urllib.request.urlopen(self.metrics).read().decode()
        calls = {}
        for labels, value in re.findall(r"^sheaf_meta_calls_total\{([^}]*)\} ([0-9.e+]+)$", text, re.M):
            named = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            if named["call"] not in ("Heartbeat", "WatchMap", "RenewSession", "GetMap"):
                calls[named["call"]] = calls.get(named["call"], 0) + float(value)
        return calls


class Bench:
    def __init__(self, cluster, files, small, large):
        self.cluster = cluster
        self.root = os.path.join(cluster.mount, "bench")
        self.files = files
        self.small = small
        self.large = large
        os.mkdir(self.root)

    def measure(self, name, count, unit, work, cold=False):
        if cold:
            drop_caches()
            time.sleep(1.1)  # what the kernel trusts for a second is forgotten
        before = self.cluster.calls()
        start = time.monotonic()
        work()
        seconds = time.monotonic() - start
        after = self.cluster.calls()
        spent = {call: (after[call] - before.get(call, 0)) / count for call in after}
        shown = ", ".join(f"{call} {each:.2f}" for call, each in sorted(spent.items()) if each >= 0.005)
        print(f"{name:34s} {count / seconds:10.0f} {unit:10s} | {shown or 'no calls'}", flush=True)

    def names(self, count, folder="small"):
        return [os.path.join(self.root, folder, f"f{i:06d}") for i in range(count)]

    def small_writes(self):
        data = os.urandom(4 * KIB)
        def work():
            fd = os.open(os.path.join(self.root, "log"), os.O_WRONLY | os.O_CREAT, 0o644)
            for _ in range(self.small * MIB // len(data)):
                os.write(fd, data)
            os.close(fd)
        self.measure(f"write {self.small} MiB in 4 KiB, close", self.small, "MiB/s", work)

    def create(self):
        os.mkdir(os.path.join(self.root, "small"))
        data = os.urandom(16 * KIB)
        def work():
            for name in self.names(self.files):
                fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
                os.write(fd, data)
                os.close(fd)
        self.measure("create, write 16 KiB, close", self.files, "files/s", work)

    def read(self, name, cold):
        def work():
            for path in self.names(self.files):
                fd = os.open(path, os.O_RDONLY)
                assert len(os.read(fd, 32 * KIB)) == 16 * KIB
                os.close(fd)
        self.measure(name, self.files, "files/s", work, cold)

    def unlink(self):
        self.measure("unlink", self.files, "files/s",
                     lambda: [os.unlink(name) for name in self.names(self.files)], cold=True)

    def list(self, entries):
        folder = os.path.join(self.root, "many")
        os.mkdir(folder)
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(os.mknod, [os.path.join(folder, f"e{i:06d}") for i in range(entries)]))
        command = ["ls", "-l", folder]
        self.measure(f"ls -l of {entries} entries", entries, "entries/s",
                     lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL), cold=True)

    def sequential(self):
        path = os.path.join(self.root, "large")
        block = os.urandom(MIB)
        def write():
            fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
            for _ in range(self.large):
                os.write(fd, block)
            os.close(fd)
        def read():
            fd = os.open(path, os.O_RDONLY)
            while os.read(fd, MIB):
                pass
            os.close(fd)
        self.measure("write sequentially, 1 MiB, close", self.large, "MiB/s", write)
        self.measure("read sequentially, 1 MiB, cold", self.large, "MiB/s", read, cold=True)

    def show_read_ahead(self):
        device = os.stat(self.cluster.mount).st_dev
        with open(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb") as file:
            print(f"the kernel reads ahead {file.read().strip()} KiB", flush=True)

    def run(self):
        self.show_read_ahead()
        self.small_writes()
        self.create()
        self.read("open, read 16 KiB, close, cold", cold=True)
        self.read("open, read 16 KiB, close, warm", cold=False)
        self.unlink()
        self.list(10_000)
        self.sequential()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binaries")
    parser.add_argument("directory", nargs="?", default="/var/tmp")
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--small", type=int, default=64, help="MiB written in 4 KiB")
    parser.add_argument("--large", type=int, default=1024, help="MiB")
    arguments = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="sheaf-mount-bench.", dir=arguments.directory)
    cluster = None
    try:
        cluster = Cluster(os.path.abspath(arguments.binaries), directory)
        Bench(cluster, arguments.files, arguments.small, arguments.large).run()
    finally:
        if cluster is not None:
            cluster.down()
        shutil.rmtree(directory, ignore_errors=True)


main()
