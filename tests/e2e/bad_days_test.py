"""Servers that die and come back under a mount that stays."""

import errno
import hashlib
import os
import threading
import time
import unittest

from cluster import Cluster, is_mounted

# What a call may wait for a server that is gone, and what a test allows on top of it: retries in
# flight and a busy machine.
WAIT_MS = 2000
SLACK_SECONDS = 20


class Load:
    """Threads that write files, read them back and remember what was acknowledged."""

    def __init__(self, folder, threads=3):
        self.folder = folder
        self.acknowledged = {}
        self.errors = []
        self.stopping = threading.Event()
        self.progress = threading.Semaphore(0)
        os.mkdir(folder)
        self.threads = [threading.Thread(target=self.work, args=(i,)) for i in range(threads)]
        for thread in self.threads:
            thread.start()

    def work(self, worker):
        count = 0
        while not self.stopping.is_set():
            path = os.path.join(self.folder, "%d-%d" % (worker, count))
            data = os.urandom(200_000)
            try:
                with open(path, "wb") as out:
                    out.write(data)
                    os.fsync(out.fileno())
                self.acknowledged[path] = hashlib.sha256(data).digest()
                self.progress.release()
            except OSError as error:
                self.errors.append(error)
            count += 1

    def wait_for_progress(self, files, seconds=120):
        deadline = time.monotonic() + seconds
        for _ in range(files):
            if not self.progress.acquire(timeout=max(0.0, deadline - time.monotonic())):
                raise AssertionError("no progress in %d s, errors: %s" % (
                    seconds, self.errors[-3:]))

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def check(self):
        for path, digest in self.acknowledged.items():
            with open(path, "rb") as file:
                if hashlib.sha256(file.read()).digest() != digest:
                    raise AssertionError("acknowledged bytes lost: " + path)


class BadDaysTest(unittest.TestCase):
    def load_survives(self, cluster, server):
        """Under the default waits a restart is a pause and not an error."""
        load = Load(cluster.path("load"))
        try:
            load.wait_for_progress(20)
            server.kill()
            cluster.start_servers()
            load.wait_for_progress(20)
        finally:
            load.stop()
        self.assertEqual(load.errors, [])
        load.check()

    def test_storage_server_killed_and_restarted_under_load(self):
        with Cluster(storage=2) as cluster:
            self.load_survives(cluster, cluster.storage[0])

    def test_metadata_server_killed_and_restarted_under_load(self):
        with Cluster(storage=2) as cluster:
            self.load_survives(cluster, cluster.meta)

    def short_waits(self):
        return Cluster(mount_options="meta_timeout_ms=%d,data_timeout_ms=%d,attr_timeout=0,"
                                     "entry_timeout=0" % (WAIT_MS, WAIT_MS))

    def assertEio(self, call):
        """EIO, after no more than the stated wait."""
        start = time.monotonic()
        with self.assertRaises(OSError) as caught:
            call()
        self.assertEqual(caught.exception.errno, errno.EIO)
        self.assertLess(time.monotonic() - start, WAIT_MS / 1000 + SLACK_SECONDS)

    def test_a_gone_storage_server_gives_eio_and_comes_back_without_remounting(self):
        with self.short_waits() as cluster:
            path = cluster.path("file")
            with open(path, "wb") as out:
                out.write(b"x" * 100_000)
            fd = os.open(path, os.O_RDWR | os.O_DIRECT)
            cluster.storage[0].kill()
            self.assertEio(lambda: os.pread(fd, 4096, 0))
            self.assertEqual(os.stat(path).st_size, 100_000)  # names need no storage
            cluster.start_servers()
            self.assertEqual(os.pread(fd, 5, 0), b"xxxxx")
            os.pwrite(fd, b"y" * 5, 0)
            os.close(fd)
            with open(path, "rb") as file:
                self.assertEqual(file.read(10), b"yyyyyxxxxx")

    def test_a_gone_metadata_server_gives_eio_and_comes_back_without_remounting(self):
        with self.short_waits() as cluster:
            path = cluster.path("file")
            with open(path, "wb") as out:
                out.write(b"before")
            cluster.meta.kill()
            self.assertEio(lambda: os.stat(path))
            self.assertEio(lambda: os.mkdir(cluster.path("dir")))
            cluster.start_servers()
            with open(path, "rb") as file:
                self.assertEqual(file.read(), b"before")
            os.mkdir(cluster.path("dir2"))

    def test_every_server_restarted_under_one_mount(self):
        with Cluster(storage=2) as cluster:
            with open(cluster.path("file"), "wb") as out:
                out.write(b"kept" * 1000)
            for server in [*cluster.storage, cluster.meta]:
                server.kill()
            cluster.start_servers()
            with open(cluster.path("file"), "rb") as file:
                self.assertEqual(file.read(), b"kept" * 1000)
            with open(cluster.path("new"), "wb") as out:
                out.write(b"new")
            self.assertTrue(cluster.fuse.running())

    def test_sigterm_unmounts_even_with_files_open(self):
        with Cluster() as cluster:
            held = open(cluster.path("file"), "wb")
            held.write(b"x")
            held.flush()
            cluster.fuse.stop()
            self.assertFalse(is_mounted(cluster.mount))
            with self.assertRaises(OSError):
                held.write(b"y" * 100_000)
                held.flush()
            try:
                held.close()
            except OSError:
                pass
            cluster.start_mount()
            with open(cluster.path("file"), "rb") as file:
                self.assertEqual(file.read(), b"x")


if __name__ == "__main__":
    unittest.main(verbosity=2)
