"""`sheaf fsck --repair` on a serving cluster while mounts die with files open for writing: whenever
it runs, it mends nothing, since nothing is wrong. What was synced is there afterwards, and lengths
are what the chains hold."""

import json
import mmap
import os
import random
import re
import subprocess
import sys
import threading
import tomllib
import unittest
import urllib.request

import cluster
from cluster import Cluster, binary, wait_until

SEED = os.environ.get("SHEAF_SEED") or str(random.SystemRandom().randrange(1 << 32))
BLOCK = 1 << 20
CHUNK = 4 << 20
# A session's lease is 15 s, and a server that is away holds up what its chains are asked.
SETTLE_SECONDS = 180


def block_of(name, index):
    """What a file holds in its block `index`."""
    return random.Random("%s %s %d" % (SEED, name, index)).randbytes(BLOCK)


class Mount(cluster.Mount):
    """A mount that will die, and the files it has open."""

    def __init__(self, owner, name):
        super().__init__(owner, name)
        self.fds = []
        # Blocks on page boundaries, as O_DIRECT asks for.
        self.memory = mmap.mmap(-1, BLOCK)

    def open(self, name, flags=0):
        fd = os.open(self.join(name), os.O_RDWR | os.O_CREAT | flags, 0o644)
        self.fds.append(fd)
        return fd

    def write(self, fd, name, index):
        """With O_DIRECT the block is on its chain when this returns; its length is not told."""
        self.memory[:] = block_of(name, index)
        assert os.pwrite(fd, self.memory, index * BLOCK) == BLOCK

    def kill(self):
        super().kill()
        for fd in self.fds:
            try:
                os.close(fd)
            except OSError:
                pass  # its daemon is gone
        self.fds = []


class FsckTest(unittest.TestCase):
    def setUp(self):
        print("SHEAF_SEED=%s" % SEED, file=sys.stderr)
        # Names and attributes as they are just now.
        self.cluster = Cluster(storage=3, mount_options="attr_timeout=0,entry_timeout=0")
        self.addCleanup(self.cluster.clean_up)
        self.cluster.up()
        self.expected = {}  # name -> (indexes of its blocks, its length or None: any up to theirs)

    def start_mount(self, name):
        mount = Mount(self.cluster, name)
        mount.start()
        return mount

    def gauge(self, name):
        path = os.path.join(self.cluster.directory, "config", "meta.toml")
        with open(path, "rb") as file:
            address = tomllib.load(file)["metrics"]
        text = urllib.request.urlopen("http://%s/metrics" % address, timeout=30).read().decode()
        return float(re.search(r"^%s (\S+)$" % name, text, re.M).group(1))

    def repair(self):
        """The problems that `fsck --repair` tells of."""
        done = subprocess.run([binary("sheaf"), "fsck", "--repair", "--json", "--meta",
                               self.cluster.meta_address], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=600)
        try:
            return json.loads(done.stdout)["problems"]
        except ValueError:
            self.fail("sheaf fsck ended with %d and no report\n%s" % (
                done.returncode, done.stderr.decode(errors="replace")))

    def write_files(self, mount):
        """One of each way in which bytes can be ahead of what the metadata service knows."""
        def of(name, blocks, length, flags=os.O_DIRECT):
            fd = mount.open(name, flags)
            for index in blocks:
                mount.write(fd, name, index)
            self.expected[name] = (list(blocks), length)
            return fd

        tag = os.path.basename(mount.path)
        # Nothing synced: some chunks, and a hole of several.
        of(tag + "-unsynced", range(9), 9 * BLOCK)
        of(tag + "-sparse", [0, 21], 22 * BLOCK)
        # Synced, then ahead again.
        name = tag + "-synced"
        fd = of(name, range(3), 9 * BLOCK)
        os.fsync(fd)
        for index in range(3, 9):
            mount.write(fd, name, index)
        self.expected[name] = (list(range(9)), 9 * BLOCK)
        # Synced and all of it known.
        os.fsync(of(tag + "-known", range(5), 5 * BLOCK))
        # Open, and never written.
        of(tag + "-empty", [], 0)
        # Cut while ahead, and written again beyond the cut.
        name = tag + "-cut"
        fd = of(name, range(9), None)
        os.ftruncate(fd, 2 * BLOCK)
        mount.write(fd, name, 6)
        self.expected[name] = ([0, 1, 6], 7 * BLOCK)
        # Renamed over another that is open, too, and removed while open.
        of(tag + "-victim", range(2), None)
        of(tag + "-from", range(6), None)
        os.rename(mount.join(tag + "-from"), mount.join(tag + "-victim"))
        self.expected[tag + "-victim"] = self.expected.pop(tag + "-from")[:1] + (6 * BLOCK,)
        of(tag + "-removed", range(6), None)
        os.unlink(mount.join(tag + "-removed"))
        del self.expected[tag + "-removed"]
        # Synced, and then in the mount's memory alone: these may be lost, the first may not.
        name = tag + "-behind"
        fd = of(name, range(4), None, flags=0)
        os.fsync(fd)
        for index in range(4, 6):
            mount.write(fd, name, index)
        self.expected[name] = (list(range(4)), None)

    def check_files(self, folder):
        self.assertEqual(sorted(os.listdir(folder)), sorted(self.expected))
        for name, (blocks, length) in self.expected.items():
            content = name.replace("-victim", "-from")
            with self.subTest(name), open(os.path.join(folder, name), "rb") as file:
                found = os.fstat(file.fileno()).st_size
                if length is None:
                    self.assertGreaterEqual(found, len(blocks) * BLOCK)
                else:
                    self.assertEqual(found, length)
                for index in range((length or len(blocks) * BLOCK) // BLOCK):
                    wanted = block_of(content, index) if index in blocks else bytes(BLOCK)
                    self.assertTrue(file.read(BLOCK) == wanted, "block %d" % index)

    def settled(self):
        return self.gauge("sheaf_meta_sessions_unsettled") == 0 and \
            self.gauge("sheaf_meta_sessions_ending") == 0

    def test_repair_before_during_and_after_the_end_of_a_killed_mount(self):
        mount = self.start_mount("doomed")
        self.write_files(mount)
        mount.kill()
        self.assertEqual(self.repair(), [], "while its session lives")
        self.assertEqual(self.gauge("sheaf_meta_sessions_expired_total"), 0, "no longer before")

        self.cluster.storage[1].kill()
        wait_until(lambda: self.gauge("sheaf_meta_sessions_unsettled") > 0, SETTLE_SECONDS,
                   "a session whose lengths wait for a server")
        problems = self.repair()
        self.assertEqual({problem["kind"] for problem in problems}, {"unchecked"}, problems)
        self.assertGreater(self.gauge("sheaf_meta_sessions_unsettled"), 0, "no longer during")

        self.cluster.start_servers()
        wait_until(self.settled, SETTLE_SECONDS, "the end of the session")
        self.assertEqual(self.gauge("sheaf_meta_sessions_expired_total"), 1)
        self.assertEqual(self.repair(), [], "after")
        self.check_files(self.cluster.mount)
        self.check_again()

    def test_repair_all_the_while_mounts_die(self):
        mounts = [self.start_mount("doomed-%d" % i) for i in range(3)]
        problems, rounds, stop = [], [0], threading.Event()

        def keep_repairing():
            while not stop.is_set() and not problems:
                problems.extend(self.repair())
                rounds[0] += 1

        thread = threading.Thread(target=keep_repairing)
        thread.start()
        try:
            for mount in mounts:
                self.write_files(mount)
            for mount in mounts:
                mount.kill()
            wait_until(lambda: self.gauge("sheaf_meta_sessions_expired_total") >= len(mounts),
                       SETTLE_SECONDS, "the end of the leases")
            wait_until(self.settled, SETTLE_SECONDS, "the end of the sessions")
        finally:
            stop.set()
            thread.join()
        self.assertEqual(problems, [])
        self.assertGreater(rounds[0], len(mounts))
        self.check_files(self.cluster.mount)
        self.check_again()

    def check_again(self):
        """By a mount that never saw the files before, and once more by fsck, with nobody there."""
        self.cluster.fuse.stop()
        self.cluster.start_mount()
        self.check_files(self.cluster.mount)
        self.cluster.fuse.stop()
        self.assertEqual(self.repair(), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
