#!/usr/bin/env python3
"""Peak memory of the daemons under load, on a cluster of three storage servers on this machine.

usage: memory.py BIN [DIR] [--gib N] [--inodes N] [--entries N] [--parts LIST]

BIN: where sheaf, its daemons, create_inodes and list_directory are (build/release/bin). DIR: on the
disk to use (default: /var/tmp). Needs root, which drops the page cache. Parts:

  data       N GiB are written into a mount by four processes, and read back cold
  inodes     N empty files are made by batches; then the service is started again and is asked for
             some
  directory  a directory of N/10 and one of N entries are listed: through the mount, through the
             mount with the attributes of each entry, and through the library

Peaks are the kernel's (VmHWM, set back before each step through /proc/PID/clear_refs), so that none
falls between two samples.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from concurrent.futures import ProcessPoolExecutor

MIB = 1 << 20
BLOCK = MIB
WRITERS = 4
FILE_MIB = 512
STORAGE_SHOWN_MIB = 1  # a storage daemon that grew by less takes no part
LOOKUPS = 200  # files statted after the restart


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as out:
        out.write("3\n")


def status_mib(pid, key):
    with open("/proc/%d/status" % pid) as status:
        return int(re.search(key + r":\s+(\d+) kB", status.read()).group(1)) / 1024


class Cluster:
    """Of `sheaf up`, with a mount; ended with the object's use."""

    def __init__(self, binaries, parent):
        self.binaries = binaries
        self.root = tempfile.mkdtemp(prefix="sheaf-memory.", dir=parent)
        self.directory = os.path.join(self.root, "cluster")
        self.mount = os.path.join(self.directory, "mnt")

    def tool(self, name):
        return os.path.join(self.binaries, name)

    def sheaf(self, *arguments, check=True):
        subprocess.run([self.tool("sheaf"), *arguments, "--dir", self.directory], check=check,
                       stdout=subprocess.DEVNULL)

    def __enter__(self):
        for attempt in range(2):  # another cluster may have chosen the same ports just now
            try:
                self.sheaf("up", "--storage", "3")
                break
            except subprocess.CalledProcessError:
                self.sheaf("down", check=False)
                if attempt == 1:
                    shutil.rmtree(self.root, ignore_errors=True)
                    raise
        with open(os.path.join(self.directory, "meta.addr")) as file:
            self.meta = file.read().strip()
        return self

    def __exit__(self, *_):
        self.sheaf("down", check=False)
        if not os.path.ismount(self.mount):
            shutil.rmtree(self.root, ignore_errors=True)

    def pids(self):
        """By daemon: sheaf-meta, storage-0 and so on, sheaf-fuse."""
        run, found = os.path.join(self.directory, "run"), {}
        for name in sorted(os.listdir(run)):
            if name.endswith(".pid"):
                with open(os.path.join(run, name)) as file:
                    found[name[:-4]] = int(file.read().split()[0])
        return found

    def store(self):
        """What the metadata store says it holds, in MiB."""
        with open(os.path.join(self.directory, "config", "meta.toml"), "rb") as file:
            address = tomllib.load(file)["metrics"]
        text = urllib.request.urlopen("http://%s/metrics" % address).read().decode()
        return {key: float(re.search(r"^sheaf_meta_store_%s_bytes ([0-9.e+]+)$" % key, text,
                                     re.M).group(1)) / MIB for key in ("cache", "memtable", "file")}


class Peaks:
    """Memory of each daemon before a step and its peak within it."""

    def __init__(self, cluster):
        self.cluster = cluster

    def __enter__(self):
        self.before = {}
        for name, pid in self.cluster.pids().items():
            with open("/proc/%d/clear_refs" % pid, "w") as out:
                out.write("5\n")
            self.before[name] = status_mib(pid, "VmRSS")
        self.start = time.monotonic()
        return self

    def __exit__(self, *_):
        self.seconds = time.monotonic() - self.start
        self.peak = {name: status_mib(pid, "VmHWM") for name, pid in self.cluster.pids().items()}

    def show(self, what):
        print("%s: %.1f s" % (what, self.seconds))
        for name, peak in self.peak.items():
            if name.startswith("storage") and peak - self.before[name] < STORAGE_SHOWN_MIB:
                continue
            print("  %-12s before %7.1f MiB, peak %7.1f MiB, growth %7.1f MiB" % (
                name, self.before[name], peak, peak - self.before[name]))
        store = self.cluster.store()
        print("  the metadata store holds %.1f MiB of blocks, %.1f MiB not in its files yet; "
              "files %.1f MiB" % (store["cache"], store["memtable"], store["file"]), flush=True)


def write_file(path):
    block = os.urandom(BLOCK)
    with open(path, "wb", buffering=0) as out:
        for _ in range(FILE_MIB * MIB // BLOCK):
            out.write(block)


def read_file(path):
    with open(path, "rb", buffering=0) as file:
        while file.read(BLOCK):
            pass


def data(cluster, gib):
    paths = [os.path.join(cluster.mount, "file-%d" % i) for i in range(gib * 1024 // FILE_MIB)]
    with ProcessPoolExecutor(WRITERS) as pool:
        with Peaks(cluster) as peaks:
            list(pool.map(write_file, paths))
        peaks.show("%d GiB written through the mount by %d processes" % (gib, WRITERS))
        drop_caches()
        with Peaks(cluster) as peaks:
            list(pool.map(read_file, paths))
        peaks.show("the same read back, cold")


def create(cluster, under, count, per_directory):
    command = [cluster.tool("create_inodes"), "--meta", cluster.meta, "--count", str(count),
               "--per-directory", str(per_directory), "--under", under]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def inodes(cluster, count):
    with Peaks(cluster) as peaks:
        made = create(cluster, "/inodes", count, 10_000)
    peaks.show("%d inodes made, %.0f a second" % (count, made["per_second"]))
    cluster.sheaf("down")
    cluster.sheaf("up")
    with Peaks(cluster) as peaks:
        for i in range(LOOKUPS):
            number = i * (count // LOOKUPS)
            os.stat(os.path.join(cluster.mount, "inodes", "d%06d" % (number // 10_000),
                                 "f%08d" % number))
    peaks.show("the service started anew, %d of them asked for" % LOOKUPS)


def scan(path, with_attributes):
    count = 0
    with os.scandir(path) as entries:
        for entry in entries:
            count += 1
            if with_attributes:
                entry.stat(follow_symlinks=False)
    return count


def list_one(cluster, count):
    under = "/entries-%d" % count
    create(cluster, under, count, count)
    for with_attributes in (False, True):
        drop_caches()
        with Peaks(cluster) as peaks:
            seen = scan(cluster.mount + under + "/d000000", with_attributes)
        if seen != count:
            sys.exit("%s lists %d entries, not %d" % (under, seen, count))
        peaks.show("%d entries listed through the mount%s" % (
            count, ", each with its attributes" if with_attributes else ""))
    with Peaks(cluster) as peaks:
        command = [cluster.tool("list_directory"), "--meta", cluster.meta, under + "/d000000"]
        told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    peaks.show("%d entries listed through the library, which grew by %.1f MiB" % (
        count, (told["peak_kib"] - told["before_kib"]) / 1024))


def directory(cluster, count):
    for entries in (count // 10, count):
        list_one(cluster, entries)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    parser = argparse.ArgumentParser()
    parser.add_argument("binaries")
    parser.add_argument("directory", nargs="?", default="/var/tmp")
    parser.add_argument("--gib", type=int, default=10)
    parser.add_argument("--inodes", type=int, default=10_000_000)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--parts", default="data,inodes,directory")
    arguments = parser.parse_args()
    parts = {"data": (data, arguments.gib), "inodes": (inodes, arguments.inodes),
             "directory": (directory, arguments.entries)}
    for part in arguments.parts.split(","):
        if part not in parts:
            parser.error("--parts names '%s'; give some of %s" % (part, ", ".join(parts)))
    for part in arguments.parts.split(","):
        work, size = parts[part]
        with Cluster(os.path.abspath(arguments.binaries), arguments.directory) as cluster:
            work(cluster, size)


main()
