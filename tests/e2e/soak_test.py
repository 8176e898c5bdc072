"""Mixed load on a cluster of three storage servers and two mounts, for as long as one likes: every
byte is what was written, `sheaf fsck` finds nothing, and no daemon has come to hold more than it
did.

A sample every moment or so has each daemon's threads, descriptors and memory. The first quarter of
the time is a warm-up, in which caches and pools fill; then the median of the second quarter is
compared with that of the last.

SHEAF_SOAK_SECONDS sets the length (60; by hand an hour: 3600). SHEAF_SEED repeats the choices of a
run, not its timing.
"""

import multiprocessing
import os
import queue
import random
import re
import statistics
import sys
import time
import tomllib
import unittest
import urllib.request

from cluster import Cluster, Mount, binary, run
from soak_load import Commands, Copies, LargeFiles, SmallFiles, Walks

SECONDS = int(os.environ.get("SHEAF_SOAK_SECONDS", "60"))
SEED = os.environ.get("SHEAF_SEED") or str(random.SystemRandom().randrange(1 << 32))
SAMPLE_SECONDS = max(0.5, SECONDS / 400)
SHOW_SECONDS = 60  # of a long run, what it is like just now
END_SECONDS = 300  # for a step under way on a busy machine, and the last look at the files
QUARTERS = 4

# How much the last quarter may be above the second.
#
# Threads and descriptors: those of a session's connections, which come and go with `sheaf status`
# and `sheaf cp` (some of each are open at any time), and the mount's threads, which libfuse starts
# as requests come and ends above 16 idle ones; each has a descriptor of /dev/fuse. A session that
# left one behind would show: in a minute there are a hundred.
MORE_THREADS = 12
MORE_DESCRIPTORS = 16
# Memory of its own (RssAnon), less what the daemon's metrics account for. What no metric counts:
# the allocator's arenas, which keep the most that was in use at once, so that one rare overlap of
# requests is seen to the end (a mount: 64 MiB of write-behind, 8 MiB of read-ahead a file); of a
# storage server the index's memory tables, 16 MiB each, which a short run does not fill even once.
MORE_MEMORY = 0.15
MORE_MEMORY_MIB = 24

# Caches with a bound of their own, which need not be full after the warm-up: the gauges that say
# what is in them. The most that was ever counted is subtracted, since the allocator keeps it.
ACCOUNTED = {
    "meta": ["sheaf_meta_store_cache_bytes", "sheaf_meta_store_memtable_bytes"],
    "storage": ["sheaf_storage_chunk_cache_bytes"],
    "mount": [],
}


class Watched:
    """A daemon that is sampled."""

    FIGURES = ["threads", "descriptors", "resident MiB", "own MiB", "own, unaccounted MiB"]

    def __init__(self, name, pid, kind, metrics=None):
        self.name = name
        self.pid = pid
        self.kind = kind
        self.metrics = metrics
        self.accounted = 0.0
        self.samples = []  # (seconds since the start, the figures)
        # A sanitizer holds back what was freed, as it likes.
        with open("/proc/%d/maps" % pid) as file:
            self.judge_memory = not re.search(r"/lib[at]san\.", file.read())

    def account(self):
        if self.metrics is None:
            return 0.0
        with urllib.request.urlopen("http://%s/metrics" % self.metrics, timeout=60) as answer:
            text = answer.read().decode()
        found = sum(float(value) for name in ACCOUNTED[self.kind]
                    for value in re.findall(r"^%s(?:\{[^}]*\})? (\S+)$" % name, text, re.M))
        self.accounted = max(self.accounted, found / (1 << 20))
        return self.accounted

    def sample(self, seconds):
        try:
            with open("/proc/%d/status" % self.pid) as file:
                status = dict(line.split(":", 1) for line in file)
            descriptors = len(os.listdir("/proc/%d/fd" % self.pid))
        except (FileNotFoundError, ProcessLookupError):
            raise AssertionError("%s has ended" % self.name) from None
        mib = {key: int(status[key].split()[0]) / 1024 for key in ("VmRSS", "RssAnon")}
        self.samples.append((seconds, [
            int(status["Threads"]), descriptors, mib["VmRSS"], mib["RssAnon"],
            mib["RssAnon"] - self.account()]))

    def quarter(self, number, length):
        """The medians of one quarter of the time, from 0."""
        part = [figures for seconds, figures in self.samples
                if number <= seconds / length * QUARTERS < number + 1]
        if not part:
            raise AssertionError("%s: no sample in quarter %d of %d s; the machine was too busy: "
                                 "raise SHEAF_SOAK_SECONDS" % (self.name, number + 1, length))
        return [statistics.median(column) for column in zip(*part)]

    def growth(self, length):
        """What grew, as sentences."""
        second, last = self.quarter(1, length), self.quarter(3, length)
        allowed = [second[0] + MORE_THREADS, second[1] + MORE_DESCRIPTORS, None, None,
                   second[4] + MORE_MEMORY * second[3] + MORE_MEMORY_MIB
                   if self.judge_memory else None]
        return ["%s: %s grew from %.1f to %.1f, more than to %.1f" % (
                    self.name, figure, before, after, most)
                for figure, before, after, most in zip(self.FIGURES, second, last, allowed)
                if most is not None and after > most]

    def table(self, length):
        quarters = [self.quarter(number, length) for number in range(QUARTERS)]
        return "\n".join("%-12s %-22s %s" % (self.name if i == 0 else "", figure, " ".join(
            "%9.1f" % quarter[i] for quarter in quarters)) for i, figure in enumerate(self.FIGURES))


class SoakTest(unittest.TestCase):
    def setUp(self):
        print("SHEAF_SEED=%s" % SEED, file=sys.stderr)
        self.cluster = Cluster(storage=3)
        self.addCleanup(self.cluster.clean_up)
        self.start_servers()
        self.cluster.start_mount()
        self.second = Mount(self.cluster, "second")
        self.second.start()
        self.workers = []
        # Before the cluster goes: a process in a call of a mount without a daemon is hard to end.
        self.addCleanup(self.end_workers)

    def start_servers(self):
        try:
            self.cluster.start_servers()
        except AssertionError:  # another cluster may have chosen the same ports just now
            self.cluster.stop_servers()
            self.cluster.start_servers()

    def loads(self):
        first, second, meta = self.cluster.mount, self.second.path, self.cluster.meta_address
        return [SmallFiles("small-0", SEED, first), SmallFiles("small-1", SEED, first),
                SmallFiles("small-2", SEED, second), LargeFiles("large", SEED, first),
                Copies("copies", SEED, second, meta, self.cluster.root),
                Walks("walks", SEED, second),
                Commands("commands", SEED, meta)]

    def start_workers(self):
        context = multiprocessing.get_context("fork")
        self.stop, self.report = context.Event(), context.Queue()
        for load in self.loads():
            worker = context.Process(target=load.main, args=(self.stop, self.report), daemon=True)
            worker.start()
            self.workers.append(worker)

    def end_workers(self):
        for worker in self.workers:
            worker.kill()
            worker.join(END_SECONDS)

    def watched(self):
        def metrics(server):
            with open(os.path.join(self.cluster.directory, "config", server.name + ".toml"),
                      "rb") as file:
                return tomllib.load(file)["metrics"]

        servers = [(self.cluster.meta, "meta"),
                   *((each, "storage") for each in self.cluster.storage)]
        return [*(Watched(server.name, server.pid(), kind, metrics(server))
                  for server, kind in servers),
                Watched("mount", self.cluster.fuse.process.pid, "mount"),
                Watched("second", self.second.daemon.process.pid, "mount")]

    def watch(self, watched):
        """Samples until the time is over or a process of the load has failed."""
        start = shown = time.monotonic()
        while (now := time.monotonic() - start) < SECONDS:
            for each in watched:
                each.sample(now)
            if time.monotonic() - shown >= SHOW_SECONDS:
                shown = time.monotonic()
                print("%5.0f s: threads, descriptors, own MiB: %s" % (now, "; ".join(
                    "%s %d, %d, %.1f" % (each.name, *each.samples[-1][1][:2],
                                         each.samples[-1][1][3])
                    for each in watched)), file=sys.stderr, flush=True)
            if self.stop.wait(SAMPLE_SECONDS):
                break

    def gather(self):
        """What each process of the load did, once each has had its last look at its files."""
        self.stop.set()
        deadline, failures = time.monotonic() + END_SECONDS, []
        for _ in self.workers:
            try:
                name, counts, failure = self.report.get(
                    timeout=max(1.0, deadline - time.monotonic()))
            except queue.Empty:
                failures.append("a process of the load did not end within %d s" % END_SECONDS)
                break
            print("%-12s %s" % (name, ", ".join(
                "%s %d" % each for each in sorted(counts.items()))), file=sys.stderr)
            if not counts and not failure:
                failure = "it has done nothing in %d s" % SECONDS
            if failure:
                failures.append("%s: %s" % (name, failure))
        if failures:
            self.fail("\n".join(failures) + "\n" + self.cluster.logs())

    def test_nothing_grows_and_nothing_is_lost(self):
        self.start_workers()
        watched = self.watched()
        try:
            self.watch(watched)
        except AssertionError as error:
            self.fail("%s\n%s" % (error, self.cluster.logs()))
        self.gather()
        print("medians of the quarters, %d samples in %d s\n%s" % (
            len(watched[0].samples), SECONDS, "\n".join(each.table(SECONDS) for each in watched)),
            file=sys.stderr)
        grown = [line for each in watched for line in each.growth(SECONDS)]
        self.second.stop()
        self.cluster.fuse.stop()
        run([binary("sheaf"), "fsck", "--meta", self.cluster.meta_address])
        self.assertEqual(grown, [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
