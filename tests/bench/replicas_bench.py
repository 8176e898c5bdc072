#!/usr/bin/env python3
"""What three replicas cost, on this machine: writes beside one replica and beside the disk, small
overwrites, what a resync moves and takes away, and reads of replicas whose processors are few.

usage: replicas_bench.py BIN [--dir DIR] [--gib N] [--rounds N] [--only NAME...]

BIN: where sheaf and its daemons are (build/release/bin). DIR: on the disk to measure (/var/tmp).
Needs root, fio and, for reads, cgroups.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import threading
import time
import tomllib
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

MIB = 1 << 20
TICKS = os.sysconf("SC_CLK_TCK")
CGROUPS = "/sys/fs/cgroup"


def median(values):
    return statistics.median(values)


class Bench:
    def __init__(self, options):
        self.options = options

    # ---- the parts ----

    def sheaf(self, cluster, verb, path, *arguments):
        from cluster import binary
        out = subprocess.run([binary("sheaf"), "bench", verb, "sheaf:/" + path, "--meta",
                              cluster.meta_address, "--json", *arguments],
                             check=True, capture_output=True, text=True).stdout
        return json.loads(out)

    def disk_mib_per_s(self):
        """4 MiB direct writes at depth 8, fdatasync at the end."""
        path = os.path.join(self.options.dir, "fio.%d" % os.getpid())
        try:
            out = subprocess.run(
                ["fio", "--name=write", "--filename=" + path, "--size=%dG" % self.options.gib,
                 "--rw=write", "--bs=4M", "--iodepth=8", "--ioengine=io_uring", "--direct=1",
                 "--end_fsync=1", "--output-format=json"],
                check=True, capture_output=True, text=True).stdout
            return json.loads(out)["jobs"][0]["write"]["bw_bytes"] / MIB
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    @staticmethod
    def server_seconds(cluster):
        seconds = 0.0
        for server in cluster.storage:
            with open("/proc/%d/stat" % server.pid()) as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
            seconds += (int(fields[11]) + int(fields[12])) / TICKS
        return seconds

    def cluster(self, replicas):
        from cluster import Cluster
        os.environ["SHEAF_E2E_DIR"] = self.options.dir
        return Cluster(storage=3, replicas=replicas)

    # ---- what is measured ----

    def writes(self):
        size = ["--size", "%dG" % self.options.gib]
        ratios, costs, latencies = [], [], []
        with self.cluster(1) as one, self.cluster(3) as three:
            for number in range(self.options.rounds):
                disk = self.disk_mib_per_s()
                before = self.server_seconds(three)
                path = "large-%d" % number
                result = self.sheaf(three, "write", path, "--block", "4M", "--depth", "8", *size)
                cost = (self.server_seconds(three) - before + result["cpu_s"]) / self.options.gib
                os.unlink(three.path(path))
                alone = self.sheaf(one, "write", path, "--block", "4M", "--depth", "8", *size)
                os.unlink(one.path(path))
                waits = [self.sheaf(each, "write", "latency", "--block", "4M", "--depth", "1",
                                    "--size", "400M")["p50_us"] / 1000 for each in (one, three)]
                ratios.append(result["mib_per_s"] / (disk / 3))
                costs.append(cost)
                latencies.append(waits[1] / waits[0])
                print("round %d: 4 MiB, depth 8: %.0f MiB/s with three replicas, %.0f with one; the disk "
                      "%.0f, a third of it %.0f: %.2f; %.2f CPU-seconds a GiB (one: client %.2f); one "
                      "write %.1f ms, %.1f with one: %.2f" % (
                          number, result["mib_per_s"], alone["mib_per_s"], disk, disk / 3, ratios[-1],
                          cost, alone["cpu_s"] / self.options.gib, waits[1], waits[0],
                          latencies[-1]), flush=True)
        print("writes: %.2f of a third of the disk, %.2f CPU-seconds a GiB, latency %.2f of one "
              "replica's" % (median(ratios), median(costs), median(latencies)), flush=True)

    def overwrites(self):
        rates = []
        with self.cluster(3) as cluster:
            self.sheaf(cluster, "write", "file", "--size", "256M", "--block", "4M")
            for number in range(self.options.rounds):
                result = self.sheaf(cluster, "write", "file", "--size", "256M", "--block", "4K",
                                    "--depth", "16", "--random")
                rates.append(result["ops_per_s"])
                print("round %d: 4 KiB overwrites at depth 16: %.0f/s, median %.0f us" % (
                    number, result["ops_per_s"], result["p50_us"]), flush=True)
        print("overwrites: %.0f/s" % median(rates), flush=True)

    def resync(self):
        """One server is away while half of a file is overwritten, and comes back: what is moved then,
        and, once more, how fast others write meanwhile."""
        from cluster import wait_until
        with self.cluster(3) as cluster:
            self.sheaf(cluster, "write", "file", "--size", "%dG" % self.options.gib, "--block", "4M")
            write = ["--block", "1M", "--depth", "4", "--size"]
            alone = self.sheaf(cluster, "write", "other", *write,
                               "%dG" % self.options.gib)["mib_per_s"]
            victim = cluster.storage[0]
            differ = self.options.gib * 512 * MIB

            def away():
                victim.stop()
                wait_until(lambda: cluster.status()["health"] == "degraded", 30, "degraded chains")
                self.sheaf(cluster, "write", "file", *write, "%dM" % (self.options.gib * 512))
                begun = time.monotonic()
                moved = self.moved(cluster, skip=victim)
                cluster.start_server(victim)
                return begun, moved

            begun, before = away()
            cluster.wait_for_health(600)
            seconds = time.monotonic() - begun
            moved = self.moved(cluster, skip=victim) - before
            print("resync: %.0f MiB moved for %.0f MiB that differ: %.2f, in %.1f s" % (
                moved / MIB, differ / MIB, moved / differ, seconds), flush=True)

            away()
            beside = []
            stop = threading.Event()

            def load():
                while not stop.is_set():
                    beside.append(self.sheaf(cluster, "write", "other", *write, "256M")["mib_per_s"])

            wait_until(self.is_resyncing(cluster), 60, "the resync")
            thread = threading.Thread(target=load)
            thread.start()
            try:
                cluster.wait_for_health(600)
            finally:
                stop.set()
                thread.join()
            print("resync: %s MiB/s written meanwhile, %.0f alone: %.2f" % (
                "/".join("%.0f" % each for each in beside), alone, median(beside) / alone),
                flush=True)

    @staticmethod
    def is_resyncing(cluster):
        def some():
            status = cluster.status()
            return status and any(target["state"] == "syncing" for chain in status["chains"]
                                  for target in chain["targets"])
        return some

    def moved(self, cluster, skip):
        """Bytes that resyncs have sent, over all servers but one."""
        total = 0.0
        for server in cluster.storage:
            if server is skip:
                continue
            with open(server.config, "rb") as config:
                address = tomllib.load(config)["metrics"]
            with urllib.request.urlopen("http://%s/metrics" % address, timeout=10) as page:
                for line in page.read().decode().splitlines():
                    if line.startswith("sheaf_storage_resync_bytes_total"):
                        total += float(line.split()[-1])
        return total

    def reads(self):
        """Each server may use a part of a processor, so that servers and not this machine bound it."""
        from cluster import Cluster
        os.environ["SHEAF_E2E_DIR"] = self.options.dir
        rates = {}
        for replicas in (1, 3):
            with Cluster(storage=replicas, replicas=replicas) as cluster, capped(cluster.storage, 0.2):
                self.sheaf(cluster, "write", "file", "--size", "512M", "--block", "4M")
                rates[replicas] = median(
                    self.sheaf(cluster, "read", "file", "--size", "512M", "--block", "64K", "--depth",
                               "16", "--random")["ops_per_s"] for _ in range(self.options.rounds))
        print("reads of 64 KiB, each server a fifth of a processor: %.0f/s of one replica, %.0f/s of "
              "three: %.2f" % (rates[1], rates[3], rates[3] / rates[1]), flush=True)


@contextlib.contextmanager
def capped(servers, processors):
    """Each in a group of its own that has so much of a processor, of 10 ms in 10 ms."""
    if os.path.exists(os.path.join(CGROUPS, "cgroup.controllers")):
        root = CGROUPS
        write(root, "cgroup.subtree_control", "+cpu")
        limits = {"cpu.max": "%d 10000" % (processors * 10000)}
    else:  # version 1
        root = os.path.join(CGROUPS, "cpu")
        limits = {"cpu.cfs_period_us": "10000", "cpu.cfs_quota_us": str(int(processors * 10000))}
    made = []
    try:
        for server in servers:
            group = os.path.join(root, "sheaf-bench.%d.%s" % (os.getpid(), server.name))
            os.mkdir(group)
            made.append((group, server))
            for name, text in limits.items():
                write(group, name, text)
            write(group, "cgroup.procs", str(server.pid()))
        yield
    finally:
        for group, server in made:
            write(root, "cgroup.procs", str(server.pid()))
            os.rmdir(group)


def write(folder, name, text):
    with open(os.path.join(folder, name), "w") as file:
        file.write(text)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binaries")
    parser.add_argument("--dir", default="/var/tmp")
    parser.add_argument("--gib", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=["writes", "overwrites", "resync", "reads"],
                        default=["writes", "overwrites", "resync", "reads"])
    options = parser.parse_args()
    os.environ["SHEAF_BIN"] = os.path.abspath(options.binaries)
    bench = Bench(options)
    for name in options.only:
        getattr(bench, name)()


if __name__ == "__main__":
    main()
