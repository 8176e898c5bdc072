"""Disks that are read-only, fail or fill under the servers."""

import contextlib
import errno
import json
import os
import subprocess
import sys
import tempfile
import unittest

from bad_days_test import Load
from cluster import Cluster, binary, run, wait_until
from disk import Disk, check_loop, put_on_disk

STORAGE_MIB = 8192  # holds slabs of the default size; the image is sparse
META_MIB = 64
NO_CACHE = "attr_timeout=0,entry_timeout=0"
SHORT_WAITS = "meta_timeout_ms=3000,data_timeout_ms=3000," + NO_CACHE


class DiskTest(unittest.TestCase):
    def setUp(self):
        check_loop()

    @contextlib.contextmanager
    def cluster_on_disk(self, name, mib, **arguments):
        """A running cluster, one of whose servers has a disk of its own."""
        cluster = Cluster(**arguments)
        try:
            cluster.start_servers()
            cluster.stop_servers()
            disk = put_on_disk(cluster, name, mib)
            cluster.up()
            yield cluster, disk
        except BaseException:
            print(cluster.logs(), file=sys.stderr)
            raise
        finally:
            cluster.clean_up()

    def assertRefused(self, words, *command):
        """Exit 1 and one line with all of the words."""
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=120)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        for word in ["error: ", *words]:
            self.assertIn(word, done.stderr)


class ReadOnlyDiskTest(DiskTest):
    def test_a_new_cluster_is_refused_and_nothing_is_left(self):
        with tempfile.TemporaryDirectory(prefix="sheaf-e2e.") as root:
            disk = Disk(os.path.join(root, "disk.img"), 16)
            self.addCleanup(disk.clean_up)
            try:
                point = os.path.join(root, "disk")
                disk.mount(point)
                disk.set_read_only(True)
                words = ["read-only", "remount"]
                self.assertRefused([point, *words], binary("sheaf"), "up", "--dir", point)
                self.assertRefused([point + "/new", *words], binary("sheaf"), "up", "--dir",
                                   point + "/new")
                self.assertEqual(os.listdir(point), ["lost+found"])
            finally:
                disk.unmount()

    def test_servers_are_refused_and_all_is_there_once_it_is_writable(self):
        for name, program, mib in [("meta", "sheaf-meta", META_MIB),
                                   ("storage-0", "sheaf-storage", STORAGE_MIB)]:
            with self.subTest(name):
                with self.cluster_on_disk(name, mib) as (cluster, disk):
                    with open(cluster.path("file"), "wb") as out:
                        out.write(b"kept" * 100_000)
                    cluster.down()
                    disk.set_read_only(True)
                    config = os.path.join(cluster.directory, "config", name + ".toml")
                    self.assertRefused([disk.point, "read-only", "remount"], binary(program),
                                       "--config", config)
                    disk.set_read_only(False)
                    cluster.up()
                    with open(cluster.path("file"), "rb") as file:
                        self.assertEqual(file.read(), b"kept" * 100_000)


class FailedDiskTest(DiskTest):
    def test_a_target_leaves_service_and_loses_nothing_that_was_acknowledged(self):
        on_disk = self.cluster_on_disk("storage-0", STORAGE_MIB, mount_options=SHORT_WAITS)
        with on_disk as (cluster, disk):
            load = Load(cluster.path("load"))
            try:
                load.wait_for_progress(20)
                disk.fail()
                wait_until(lambda: len(load.errors) >= 6, 120, "errors of writes")
            finally:
                load.stop()
            self.assertEqual({error.errno for error in load.errors}, {errno.EIO})
            self.assertTrue(cluster.storage[0].running())
            status = wait_until(lambda: self.failed_target(cluster), 60, "a target out of service")
            self.assertNotEqual(status["health"], "ok")
            with open(cluster.storage[0].log) as log:
                self.assertIn("Input/output error", log.read())

            cluster.storage[0].kill()
            disk.repair()
            cluster.start_servers()
            load.check()
            with open(cluster.path("after"), "wb") as out:
                out.write(b"after")

    def failed_target(self, cluster):
        status = json.loads(run([binary("sheaf"), "status", "--json", "--meta",
                                 cluster.meta_address]))
        states = [target["state"] for target in status["targets"]]
        return status if "serving" not in states else None

    def test_metadata_is_read_on_and_changed_again_after_repair_and_restart(self):
        on_disk = self.cluster_on_disk("meta", META_MIB, mount_options=SHORT_WAITS)
        with on_disk as (cluster, disk):
            made = []
            for i in range(200):
                os.mkdir(cluster.path("dir%d" % i))
                made.append("dir%d" % i)
            disk.fail()
            for i in range(3):
                with self.assertRaises(OSError) as caught:
                    os.mkdir(cluster.path("late%d" % i))
                self.assertEqual(caught.exception.errno, errno.EIO)
            self.assertTrue(cluster.meta.running())
            self.assertTrue(os.path.isdir(cluster.path(made[-1])))
            with open(cluster.meta.log) as log:
                self.assertIn("repair the disk and restart", log.read())

            cluster.meta.kill()
            disk.repair()
            cluster.start_servers()
            self.assertLessEqual(set(made), set(os.listdir(cluster.mount)))
            os.mkdir(cluster.path("after"))


class FullMetadataDiskTest(DiskTest):
    VALUE = 30_000  # bytes of an extended attribute: few of them fill what is left

    def fill_until_refused(self, path, first, most=2000):
        """Sets attributes; answers how many were acknowledged before ENOSPC."""
        for i in range(first, first + most):
            try:
                os.setxattr(path, "user.%d" % i, os.urandom(self.VALUE))
            except OSError as error:
                self.assertEqual(error.errno, errno.ENOSPC)
                return i
            path = os.path.join(os.path.dirname(path), "f%d" % i)
            try:
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
            except OSError as error:
                self.assertEqual(error.errno, errno.ENOSPC)
                return i
            self.acknowledged.append(path)
        self.fail("the disk did not fill")

    def works(self, path):
        try:
            os.mkdir(path)
            return True
        except OSError as error:
            self.assertEqual(error.errno, errno.ENOSPC)
            return False

    def test_removal_works_and_changes_go_on_by_themselves_once_there_is_space(self):
        on_disk = self.cluster_on_disk("meta", META_MIB, mount_options=NO_CACHE)
        with on_disk as (cluster, disk):
            pid = cluster.meta.pid()
            self.acknowledged = []
            for i in range(100):
                with open(cluster.path("file%d" % i), "wb") as out:
                    out.write(b"%d" % i)
            for round_number in range(3):
                ballast = disk.fill()
                folder = cluster.path("dir%d" % round_number)
                if not self.works(folder):
                    folder = cluster.mount
                start = os.path.join(folder, "file0")
                try:
                    os.close(os.open(start, os.O_CREAT | os.O_WRONLY))
                except OSError as error:
                    self.assertEqual(error.errno, errno.ENOSPC)
                    start = cluster.path("file99")
                self.fill_until_refused(start, round_number * 10_000)
                self.assertFalse(self.works(cluster.path("refused%d" % round_number)))

                # On the full disk: removal, lengths, reading.
                for i in range(round_number * 30, round_number * 30 + 30):
                    os.unlink(cluster.path("file%d" % i))
                with open(cluster.path("file95"), "ab") as out:
                    out.write(b"+")
                for path in self.acknowledged:
                    self.assertTrue(os.path.exists(path), path)

                os.unlink(ballast)
                wait_until(lambda: self.works(cluster.path("again%d" % round_number)), 60,
                           "a metadata service that takes changes again")
                self.assertEqual(cluster.meta.pid(), pid)
                self.assertTrue(cluster.meta.running())

            cluster.meta.kill()
            cluster.start_servers()
            for path in self.acknowledged:
                self.assertTrue(os.path.exists(path), path)
            for i in range(100):
                self.assertEqual(os.path.exists(cluster.path("file%d" % i)), i >= 90, i)
            with open(cluster.path("file95"), "rb") as file:
                self.assertEqual(file.read(), b"95+++")


if __name__ == "__main__":
    unittest.main(verbosity=2)
