"""sheaf-fuse as a command: what it says of wrong input, and when it returns."""

import os
import subprocess
import tempfile
import unittest

from cluster import Cluster, Daemon, binary, free_port, is_mounted, wait_until


def sheaf_fuse(*arguments, seconds=60):
    return subprocess.run([binary("sheaf-fuse"), *arguments], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
                          timeout=seconds)


class MountCommandTest(unittest.TestCase):
    def assertRefused(self, code, words, *arguments):
        done = sheaf_fuse(*arguments)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertTrue(done.stderr.startswith("sheaf-fuse: error: "), done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def test_usage_errors_name_the_option_and_exit_with_2(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertRefused(2, ["--meta"], folder)
            self.assertRefused(2, ["DIR"], "--meta", "127.0.0.1:1")
            self.assertRefused(2, ["speed"], "--meta", "127.0.0.1:1", "-o", "speed", folder)
            self.assertRefused(2, ["--fast"], "--meta", "127.0.0.1:1", "--fast", folder)
            self.assertRefused(2, ["max_threads", "0", "4096"], "--meta", "127.0.0.1:1", "-o",
                               "max_threads=0", folder)

    def test_a_bad_mount_point_is_named(self):
        with tempfile.NamedTemporaryFile() as file:
            self.assertRefused(1, [file.name, "not a directory"], "--meta", "127.0.0.1:1",
                               file.name)
        self.assertRefused(1, ["/no/such/place"], "--meta", "127.0.0.1:1", "/no/such/place")

    def test_a_wrong_address_is_named(self):
        port = free_port()
        with tempfile.TemporaryDirectory() as folder:
            self.assertRefused(1, ["127.0.0.1:%d" % port], "--meta", "127.0.0.1:%d" % port, "-o",
                               "meta_timeout_ms=1000", folder)
            self.assertFalse(is_mounted(folder))

    def test_help_and_version(self):
        self.assertIn("allow_other", sheaf_fuse("--help").stdout)
        self.assertIn("libfuse", sheaf_fuse("--version").stdout)

    def test_the_command_returns_once_the_mount_is_usable(self):
        with Cluster() as cluster:
            second = os.path.join(cluster.root, "second")
            os.mkdir(second)
            done = sheaf_fuse("--meta", cluster.meta_address, "--log-file",
                              os.path.join(cluster.root, "second.log"), second)
            self.assertEqual(done.returncode, 0, done.stderr)
            try:
                self.assertTrue(is_mounted(second))
                with open(cluster.path("file"), "wb") as out:
                    out.write(b"from one mount to another")
                with open(os.path.join(second, "file"), "rb") as file:
                    self.assertEqual(file.read(), b"from one mount to another")
                with open("/proc/self/mountinfo") as lines:
                    (line,) = [line for line in lines if line.split()[4] == second]
                self.assertIn("- fuse.sheaf %s " % cluster.meta_address, line)
                if os.geteuid() == 0:
                    with open("/sys/class/bdi/%s/read_ahead_kb" % line.split()[2]) as value:
                        self.assertEqual(value.read().strip(), "4096")
            finally:
                subprocess.run(["fusermount3", "-u", second], check=True)
            wait_until(lambda: not is_mounted(second), 10, "unmounting")

    def test_two_mounts_see_each_others_closed_files(self):
        with Cluster() as cluster:
            other = os.path.join(cluster.root, "other")
            os.mkdir(other)
            mount = Daemon("second mount", [binary("sheaf-fuse"), "--meta", cluster.meta_address,
                                            "--foreground", other],
                           os.path.join(cluster.root, "other.log"))
            mount.start()
            try:
                wait_until(lambda: is_mounted(other), 30, "a second mount")
                here, there = cluster.path("file"), os.path.join(other, "file")
                for round_number in range(20):
                    text = b"%d " % round_number * (100 + round_number)
                    source, target = (here, there) if round_number % 2 else (there, here)
                    with open(source, "wb") as out:
                        out.write(text)
                    with open(target, "rb") as file:
                        self.assertEqual(file.read(), text)
            finally:
                mount.stop()


if __name__ == "__main__":
    unittest.main(verbosity=2)
