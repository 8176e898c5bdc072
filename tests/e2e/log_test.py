"""Logs of the running daemons: levels changed and files opened anew by SIGHUP, own rotation."""

import os
import re
import signal
import unittest

from cluster import Cluster, Daemon, binary, is_mounted, run, wait_until


def text_of(path):
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


class LogTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster()
        cls.cluster.start_servers()
        # The mount with a configuration, as `sheaf up` and fstab have it.
        cls.fuse_config = os.path.join(cls.cluster.root, "mount.toml")
        cls.fuse_log = os.path.join(cls.cluster.root, "mount.log")
        with open(cls.fuse_config, "w") as file:
            file.write('[log]\nfile = "%s"\nlevel = "info"\n' % cls.fuse_log)
        cls.cluster.mount_options = ",".join(
            filter(None, [cls.cluster.mount_options, "config=" + cls.fuse_config]))
        cls.cluster.start_mount()
        cls.addClassCleanup(cls.cluster.clean_up)

    def daemons(self):
        """(name, pid, configuration, log file) of each."""
        directory = self.cluster.directory
        for server in [self.cluster.meta, self.cluster.storage[0]]:
            yield (server.name, server.pid(),
                   os.path.join(directory, "config", server.name + ".toml"), server.log)
        yield "mount", self.cluster.fuse.process.pid, self.fuse_config, self.fuse_log

    def reload(self, pid, config, log, old, new):
        """Replaces text in a configuration and waits until a SIGHUP has been acted on."""
        before = text_of(config)
        self.assertIn(old, before)
        with open(config, "w") as file:
            file.write(before.replace(old, new))
        os.kill(pid, signal.SIGHUP)

    def wait_for(self, log, words, count=1):
        wait_until(lambda: text_of(log).count(words) >= count, 30, "%r in %s" % (words, log))

    def test_a_level_is_changed_while_it_runs(self):
        for name, pid, config, log in self.daemons():
            with self.subTest(name):
                seen = text_of(log).count("log reloaded: level")
                self.reload(pid, config, log, 'level = "info"', 'level = "debug"')
                self.wait_for(log, "log reloaded: level debug")
                if name == "mount":
                    with self.assertRaises(FileNotFoundError):
                        os.stat(self.cluster.path("missing"))
                    self.wait_for(log, " D ")
                self.reload(pid, config, log, 'level = "debug"', 'level = "info"')
                self.wait_for(log, "log reloaded: level info")
                self.assertEqual(text_of(log).count("log reloaded: level"), seen + 2)
                lines = text_of(log).count(" D ")
                if name == "mount":
                    with self.assertRaises(FileNotFoundError):
                        os.stat(self.cluster.path("missing too"))
                    # What came later and is seen tells that the debug line would be, too.
                    os.kill(pid, signal.SIGHUP)
                    self.wait_for(log, "log reloaded: level", seen + 3)
                    self.assertEqual(text_of(log).count(" D "), lines)

    def test_a_log_that_was_moved_away_is_begun_anew(self):
        for name, pid, config, log in self.daemons():
            with self.subTest(name):
                moved = log + ".moved"
                os.rename(log, moved)
                os.kill(pid, signal.SIGHUP)
                self.wait_for(log, "log reloaded")
                self.assertTrue(os.path.getsize(moved) > 0)
                after = os.path.getsize(moved)
                os.kill(pid, signal.SIGHUP)
                self.wait_for(log, "log reloaded", 2)
                self.assertEqual(os.path.getsize(moved), after)

    def test_a_wrong_configuration_changes_nothing_and_is_named(self):
        for name, pid, config, log in self.daemons():
            with self.subTest(name):
                good = text_of(config)
                os.rename(log, log + ".gone")
                self.reload(pid, config, log, 'level = "info"', 'level = "loud"')
                # Into the file of before, opened anew all the same.
                self.wait_for(log, "it goes on as before")
                self.assertIn('"loud"', text_of(log))
                with open(config, "w") as file:
                    file.write(good + '\ncolour = "blue"\n')
                os.kill(pid, signal.SIGHUP)
                self.wait_for(log, "it goes on as before", 2)
                self.assertIn("colour", text_of(log))
                with open(config, "w") as file:
                    file.write(good)
                os.kill(pid, signal.SIGHUP)
                self.wait_for(log, "log reloaded: level info")

    def test_the_mount_rotates_its_log_by_itself(self):
        name, pid, config, log = list(self.daemons())[2]
        good = text_of(config)
        with open(config, "w") as file:
            file.write(good.replace("info", "debug") + "max_file_mib = 1\nmax_files = 2\n")
        os.kill(pid, signal.SIGHUP)
        self.wait_for(log, "log reloaded: level debug")
        folder, rotated = os.path.dirname(log), re.compile(r"mount\.\d+\.log$")

        def files():
            return sorted(each for each in os.listdir(folder) if rotated.match(each))

        missing = self.cluster.path("x" * 200)
        for _ in range(3000):
            if len(files()) == 2:
                break
            for _ in range(100):
                self.assertFalse(os.path.exists(missing))
        self.assertEqual(files(), ["mount.1.log", "mount.2.log"])
        for each in files():
            self.assertLessEqual(os.path.getsize(os.path.join(folder, each)), 1 << 20)
        with open(config, "w") as file:
            file.write(good)
        os.kill(pid, signal.SIGHUP)
        self.wait_for(log, "log reloaded: level info")

    def test_a_mount_without_a_log_file_takes_a_hangup_for_the_end_of_its_terminal(self):
        directory = os.path.join(self.cluster.root, "terminal")
        os.mkdir(directory)
        mount = Daemon("mount", [binary("sheaf-fuse"), "--meta", self.cluster.meta_address,
                                 "--foreground", directory],
                       os.path.join(self.cluster.root, "terminal.log"))
        mount.start()
        try:
            wait_until(lambda: is_mounted(directory), 60, "a mount")
            mount.process.send_signal(signal.SIGHUP)
            self.assertEqual(mount.process.wait(60), 0)
            self.assertFalse(is_mounted(directory))
        finally:
            mount.kill()

    def test_servers_say_so_when_they_stop(self):
        run([binary("sheaf"), "down", "--dir", self.cluster.directory])
        try:
            for server in [self.cluster.meta, self.cluster.storage[0]]:
                self.assertIn("stopping: SIGTERM", text_of(server.log))
                self.assertTrue(text_of(server.log).rstrip().endswith("stopped"))
        finally:
            self.cluster.start_servers()


if __name__ == "__main__":
    unittest.main()
