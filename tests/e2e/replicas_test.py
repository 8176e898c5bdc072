"""Chains of three replicas whose servers die, freeze, restart, lose bits and run out of disk, under
load through two mounts: the application waits and notices nothing else, as long as one complete
replica is left.

SHEAF_FAULT_ROUNDS is how many faults there are (6). SHEAF_SEED repeats the choices of a run, not
its timing.
"""

import contextlib
import ctypes
import errno
import json
import os
import random
import shutil
import signal
import statistics
import sys
import time
import unittest

from bad_days_test import Load
from cluster import Cluster, Mount, binary, run, wait_until
from disk import check_loop, put_on_disk
from pauses import Faults, pauses_of
from replicas_load import ReplicatedLoad

ROUNDS = int(os.environ.get("SHEAF_FAULT_ROUNDS", "6"))
SEED = os.environ.get("SHEAF_SEED") or str(random.SystemRandom().randrange(1 << 32))
# Nothing is measured by these: a slow machine may have to copy all that there is.
HEALTH_SECONDS = 300
PROGRESS_SECONDS = 120
NO_CACHE = "attr_timeout=0,entry_timeout=0"
CLONE_NEWNET = 0x40000000
KIB = 1 << 10
MIB = 1 << 20


def enter_network():
    """The ports of a server that is down stay its own. Needs root; without, another program may take
    them, and the server does not come back."""
    if ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0:
        run(["ip", "link", "set", "lo", "up"])


def say(text):
    print("%s  %s" % (time.strftime("%H:%M:%S"), text), file=sys.stderr, flush=True)


def chunks_of(server):
    """What is on a server's target: (chain, data_id, index) -> the rest."""
    lines = run([binary("sheaf"), "inspect", server.data, "chunks", "--json", "--limit", "0"])
    found = {}
    for line in lines.splitlines():
        chunk = json.loads(line)
        found[chunk.pop("chain"), chunk.pop("data_id"), chunk.pop("index")] = chunk
    return found


def differences(servers):
    """With all of them in all chains. Removal and trims may still be under way."""
    lists = [chunks_of(server) for server in servers]
    return ["chunk %s: %s" % (key, "; ".join(
                "%s %s" % (server.name, chunks.get(key)) for server, chunks in zip(servers, lists)))
            for key in sorted(set().union(*lists))
            if any(chunks.get(key) != lists[0].get(key) for chunks in lists)]


class ReplicasTest(unittest.TestCase):
    def setUp(self):
        print("SHEAF_SEED=%s SHEAF_FAULT_ROUNDS=%d" % (SEED, ROUNDS), file=sys.stderr, flush=True)
        self.random = random.Random(SEED + self.id())

    @staticmethod
    def cluster():
        return Cluster(storage=3, replicas=3, mount_options=NO_CACHE)

    def assertReplicasEqual(self, cluster):
        found = []

        def equal():
            found[:] = differences(cluster.storage)
            return not found

        try:
            wait_until(equal, 30, "equal replicas")
        except AssertionError:
            self.fail("the replicas differ:\n" + "\n".join(found[:20]))

    def assertClean(self, cluster):
        run([binary("sheaf"), "fsck", "--meta", cluster.meta_address])


class FaultsTest(ReplicasTest):
    """Rounds of faults. Each ends with a healthy cluster, whose every byte is looked at by a mount
    that has seen none of it before."""

    def test_the_application_only_waits_and_nothing_is_lost(self):
        with self.cluster() as cluster:
            if self.random.random() < 0.5:
                self.pass_on_early(cluster)
            second = Mount(cluster, "second", NO_CACHE)
            second.start()
            load = ReplicatedLoad([cluster.mount, second.path], SEED)
            try:
                for number, fault in enumerate(Faults(cluster, self.random).choose(ROUNDS)):
                    self.round(number, fault, cluster, load)
            finally:
                load.stop()
            load.join(PROGRESS_SECONDS)
            say(", ".join("%s %d" % each for each in sorted(load.pace.counts.items())))
            second.stop()
            cluster.fuse.stop()
            self.assertClean(cluster)
            self.assertReplicasEqual(cluster)

    def pass_on_early(self, cluster):
        """Payloads go down the chains while they are received, as between machines."""
        cluster.down()
        for server in cluster.storage:
            server.configure("near_stages = true\nstage_from_kib = 4")
        cluster.up()
        say("with stages")

    def round(self, number, fault, cluster, load):
        load.pace.go_on()
        load.pace.forgiving = fault.none_left
        load.pace.wait_for_progress(10, PROGRESS_SECONDS)
        start = time.monotonic()
        for text in fault.run():
            say("round %d, %s: %s" % (number, fault.name, text))
        load.pace.wait_for_progress(20, PROGRESS_SECONDS)
        self.check_failures(load)
        cluster.wait_for_health(HEALTH_SECONDS)
        healthy = time.monotonic()
        load.pace.pause(PROGRESS_SECONDS)
        self.check_failures(load)
        fresh = Mount(cluster, "fresh-%d" % number, NO_CACHE)
        fresh.start()
        load.check(fresh.path)
        fresh.stop()
        self.assertReplicasEqual(cluster)
        load.pace.forgiving = False
        load.forget_doubtful()
        say("round %d, %s: healthy after %.1f s, checked in %.1f s; longest call %.1f s (%s)%s" % (
            number, fault.name, healthy - start, time.monotonic() - healthy, *load.pace.slowest,
            "; %d calls failed" % load.pace.forgiven if load.pace.forgiven else ""))

    def check_failures(self, load):
        if load.pace.failures:
            self.fail("\n".join(load.pace.failures))


class PausesTest(ReplicasTest):
    def test_writes_go_on_soon_after_a_head_is_killed(self):
        with self.cluster() as cluster:
            pauses = pauses_of(cluster, "kill head", 3)
        say("from kill -9 of a head to the next write: median %.1f s, worst %.1f s of %s" % (
            statistics.median(pauses), max(pauses), ", ".join("%.1f" % each for each in pauses)))
        self.assertLess(max(pauses), 30)


    def test_writes_go_on_at_once_when_a_head_stops_in_good_order(self):
        with self.cluster() as cluster:
            pauses = pauses_of(cluster, "tell_to_stop head", 5)
        say("from SIGTERM of a head to the next write: median %.2f s, worst %.2f s" % (
            statistics.median(pauses), max(pauses)))
        # A lease takes 1.7 s and more to run out. A slow machine may cost any single one.
        self.assertLess(min(pauses), 1)


class FrozenTest(ReplicasTest):
    """A server that goes on after its lease has run out knows of nothing that happened meanwhile."""

    def check_frozen(self, place):
        with self.cluster() as cluster:
            other = Mount(cluster, "other", NO_CACHE)
            other.start()
            self.freeze_and_read(cluster, other, place)
            cluster.wait_for_health(HEALTH_SECONDS)
            self.assertReplicasEqual(cluster)

    def freeze_and_read(self, cluster, other, place):
        paths = ["file-%d" % i for i in range(24)]
        versions = [b"%04d" % i * KIB for i in range(10)]
        for path in paths:
            with open(cluster.path(path), "wb") as out:
                out.write(versions[0])
        # The other mount knows the chains as they are now, and has connections to all.
        fds = [os.open(other.join(path), os.O_RDONLY | os.O_DIRECT) for path in paths]
        for fd in fds:
            self.addCleanup(self.close_quietly, fd)
            self.assertEqual(os.pread(fd, 4096, 0), versions[0])
        status = cluster.status()
        victim = cluster.servers_of(status, status["chains"][0])[place]
        victim.freeze()
        other.daemon.process.send_signal(signal.SIGSTOP)
        start = time.monotonic()
        for version in versions[1:]:
            for path in paths:
                with open(cluster.path(path), "r+b") as out:
                    out.write(version)
        say("%s frozen: %d writes in %.1f s" % (
            victim.name, len(paths) * 9, time.monotonic() - start))
        # Both at once: the mount still holds it for a server of the chain.
        other.daemon.process.send_signal(signal.SIGCONT)
        victim.go_on()
        for _ in range(20):
            for path, fd in zip(paths, fds):
                self.assertEqual(os.pread(fd, 4096, 0), versions[-1], path)

    @staticmethod
    def close_quietly(fd):
        with contextlib.suppress(OSError):
            os.close(fd)

    def test_a_tail_that_was_frozen_answers_nothing_stale(self):
        self.check_frozen(-1)

    def test_a_head_that_was_frozen_answers_nothing_stale(self):
        self.check_frozen(0)


class BadBitsTest(ReplicasTest):
    def flip(self, server, keys, blocks=lambda number: True):
        """One bit of each of these blocks of each of these chunks."""
        for key in keys:
            lines = run([binary("sheaf"), "inspect", server.data, "chunk", *map(str, key),
                         "--json"]).splitlines()
            for extent in map(json.loads, lines):
                if "slab" not in extent:
                    continue
                path = os.path.join(server.data, "slabs", "slab.%08d" % extent["slab"])
                with open(path, "r+b", buffering=0) as slab:
                    for block in range(extent["blocks"]):
                        if not blocks(extent["offset"] // (16 * KIB) + block):
                            continue
                        at = extent["slab_offset"] + block * 16 * KIB + self.random.randrange(4096)
                        slab.seek(at)
                        byte = slab.read(1)
                        slab.seek(at)
                        slab.write(bytes([byte[0] ^ 1 << self.random.randrange(8)]))
                    os.fsync(slab.fileno())

    def test_reads_are_right_while_one_replica_of_each_chunk_is_not(self):
        with self.cluster() as cluster:
            self.flip_and_read(cluster)

    def test_reads_are_right_while_no_replica_has_all_that_is_asked_for(self):
        with self.cluster() as cluster:
            data = self.write_data(cluster)
            for i, server in enumerate(cluster.storage):
                self.flip(server, chunks_of(server), lambda n, i=i: n < 64 and n % 3 == i)
            cluster.start_mount()
            start = time.monotonic()
            self.check_data(data)
            say("read in %.1f s" % (time.monotonic() - start))
            self.assertReplicasEqual(cluster)

    def test_bytes_are_written_beside_bad_ones(self):
        with self.cluster() as cluster:
            data = self.flip_and_read(cluster)
            # What readers came upon is repaired by now, or will be.
            self.flip_chunks(cluster, 1)
            pauses = []
            for path in data:
                wanted = bytearray(data[path])
                with open(path, "r+b", buffering=0) as file:
                    for at in range(100, len(wanted), 256 * KIB + 4321):
                        wanted[at:at + 5] = b"again"
                        start = time.monotonic()
                        os.pwrite(file.fileno(), b"again", at)
                        os.fsync(file.fileno())
                        pauses.append(time.monotonic() - start)
                data[path] = bytes(wanted)
            say("%d writes beside bad bytes: median %.3f s, worst %.1f s" % (
                len(pauses), statistics.median(pauses), max(pauses)))
            self.check_data(data)
            self.assertReplicasEqual(cluster)
            self.assertClean(cluster)

    def flip_chunks(self, cluster, first):
        """Each chunk on one of its replicas, in turn."""
        for i, key in enumerate(sorted(chunks_of(cluster.storage[0]))):
            self.flip(cluster.storage[(first + i) % 3], [key])

    def check_data(self, data):
        for path, wanted in data.items():
            with open(path, "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                self.assertTrue(file.read() == wanted, path)

    def write_data(self, cluster):
        data = {}
        for i in range(8):
            path = cluster.path("file-%d" % i)
            data[path] = self.random.randbytes(5 * MIB)
            with open(path, "wb") as out:
                out.write(data[path])
        cluster.fuse.stop()
        return data

    def flip_and_read(self, cluster):
        data = self.write_data(cluster)
        self.flip_chunks(cluster, 0)
        cluster.start_mount()
        self.check_data(data)
        return data


class LostDiskTest(ReplicasTest):
    """It was the server's only one (membership_test.py has the rest)."""

    def test_a_disk_that_was_replaced_is_filled_again(self):
        with self.cluster() as cluster:
            server = cluster.storage[0]
            load = Load(cluster.path("load"))
            try:
                load.wait_for_progress(20)
                server.kill()
                shutil.rmtree(server.data)
                load.wait_for_progress(20)
                cluster.start_server(server)
                cluster.wait_for_health(HEALTH_SECONDS)
                load.wait_for_progress(20)
            finally:
                load.stop()
            self.assertEqual(load.errors, [])
            load.check()
            self.assertReplicasEqual(cluster)


class DiskOfOneTest(ReplicasTest):
    def setUp(self):
        super().setUp()
        check_loop()

    def on_disk(self, mib, check):
        """`check` gets a healthy cluster, one of whose servers has a disk of its own."""
        cluster = self.cluster()
        try:
            cluster.start_servers()
            cluster.stop_servers()
            disk = put_on_disk(cluster, "storage-0", mib)
            cluster.up()
            cluster.wait_for_health(HEALTH_SECONDS)
            check(cluster, disk)
        except BaseException:
            print(cluster.logs(), file=sys.stderr)
            raise
        finally:
            cluster.clean_up()

    def test_chains_go_on_without_a_replica_whose_disk_fails(self):
        self.on_disk(8192, self.fail_and_repair)

    def fail_and_repair(self, cluster, disk):
        load = Load(cluster.path("load"))
        try:
            load.wait_for_progress(20)
            disk.fail()
            load.wait_for_progress(60)
            states = [target["state"] for target in cluster.status()["targets"]]
            self.assertEqual(sorted(states), ["offline", "serving", "serving"])
        finally:
            load.stop()
        self.assertEqual(load.errors, [])
        load.check()

        cluster.storage[0].kill()
        disk.repair()
        cluster.start_servers()
        cluster.wait_for_health(HEALTH_SECONDS)
        load.check()
        self.assertReplicasEqual(cluster)
        self.assertClean(cluster)

    def test_chains_go_on_without_a_replica_whose_disk_hangs(self):
        self.on_disk(8192, self.hang_and_go_on)

    def hang_and_go_on(self, cluster, disk):
        load = Load(cluster.path("load"))
        try:
            load.wait_for_progress(20)
            disk.freeze()
            try:
                wait_until(lambda: "waiting" in self.target_states(cluster), 60, "a replica put aside")
                load.wait_for_progress(60)
                self.assertEqual(self.target_states(cluster), ["serving", "serving", "waiting"])
            finally:
                disk.thaw()
            # While new files come as fast as they can.
            cluster.wait_for_health(HEALTH_SECONDS)
        finally:
            load.stop()
        self.assertEqual(load.errors, [])
        load.check()
        self.assertReplicasEqual(cluster)
        self.assertClean(cluster)

    @staticmethod
    def target_states(cluster):
        return sorted(target["state"] for target in cluster.status()["targets"])

    def test_a_full_disk_of_one_replica_refuses_cleanly_and_loses_nothing(self):
        self.on_disk(2048, self.fill_and_empty)

    def fill_and_empty(self, cluster, disk):
        load = Load(cluster.path("load"))
        try:
            load.wait_for_progress(20)
            ballast = disk.fill()
            # Either is right: that writes are refused, or that they go on without that replica.
            wait_until(lambda: len(load.errors) >= 6 or self.goes_without(cluster, 2), 300,
                       "a disk that is full")
            refused = list(load.errors)
            os.unlink(ballast)

            def goes_on():
                del load.errors[:]  # what failed before may be told now
                load.wait_for_progress(20)
                return not load.errors

            wait_until(goes_on, 60, "writes that go on once there is space")
        finally:
            load.stop()
        self.assertLessEqual({error.errno for error in refused}, {errno.ENOSPC})
        load.check()
        if not self.goes_without(cluster, 2):
            cluster.wait_for_health(HEALTH_SECONDS)
            self.assertReplicasEqual(cluster)
        self.assertClean(cluster)

    @staticmethod
    def goes_without(cluster, left):
        status = cluster.status()
        return status and all(
            [member["state"] for member in chain["targets"]].count("serving") <= left
            for chain in status["chains"])


if __name__ == "__main__":
    enter_network()
    unittest.main(verbosity=2)
