"""What `sheaf` says of wrong usage and wrong places: the thing, the value, the remedy; nothing done."""

import os
import subprocess
import unittest

from command import CommandTest, binary
from cluster import free_port


class CommandLineTest(CommandTest):
    def test_help_shows_units_and_defaults(self):
        self.assertIn("bench", self.ok("--help"))
        self.assertIn("--storage", self.ok("up", "--help"))
        self.assertIn("seconds", self.ok("up", "--help"))
        self.assertIn("1G", self.ok("bench", "read", "--help"))

    def test_version_names_every_program(self):
        text = self.ok("version")
        for name in ["sheaf ", "sheaf-meta", "sheaf-storage", "sheaf-fuse"]:
            self.assertIn(name, text)

    def test_wrong_usage_is_2(self):
        self.refused(2, [])
        self.refused(2, ["nonsense"], "nonsense")
        self.refused(2, ["--nonsense"], "up", "--nonsense")
        self.refused(2, ["--replicas 4", "--storage 3"], "up", "--dir", self.directory, "--storage",
                     "3", "--replicas", "4")
        self.refused(2, ["--storage"], "up", "--dir", self.directory, "--storage", "0")
        self.refused(2, ["--mount", "--no-mount"], "up", "--dir", self.directory, "--mount", "x",
                     "--no-mount")
        self.assertFalse(os.path.exists(self.directory), "nothing is made before all is checked")

    def test_sizes_and_paths_are_checked_before_anything_is_reached(self):
        where = ["--meta", "127.0.0.1:1"]
        self.refused(2, ["--size 1Q"], "bench", "read", "sheaf:/x", "--size", "1Q", *where)
        self.refused(2, ["--block 1"], "bench", "read", "sheaf:/x", "--block", "1", *where)
        self.refused(2, ["--depth 1024", "--block"], "bench", "write", "sheaf:/x", "--depth", "1024",
                     "--block", "64M", *where)
        self.refused(2, ["sheaf:x"], "bench", "read", "sheaf:x", *where)
        self.refused(2, ["neither"], "cp", self.home, self.home + "/b", *where)
        self.refused(2, ["itself"], "cp", "sheaf:/a", "sheaf:/a/b", *where)
        self.refused(2, ["host:port"], "status", "--meta", "host:port")
        self.refused(2, ["sheaf up"], "status")
        self.refused(2, [self.home], "umount", self.home)
        self.refused(2, [self.home, "not empty"], "mount", "--meta", "127.0.0.1:1", self.make_full())

    def make_full(self):
        path = os.path.join(self.home, "full")
        os.makedirs(path + "/inside", exist_ok=True)
        return path

    def test_a_wrong_address_is_named(self):
        port = free_port()
        address = "127.0.0.1:%d" % port
        self.refused(1, [address], "status", "--meta", address)

    def test_a_directory_that_is_not_ours_is_left_alone(self):
        os.mkdir(self.directory)
        with open(self.directory + "/thesis.txt", "w") as file:
            file.write("years of work")
        self.refused(1, [self.directory, "thesis.txt"], "up", "--dir", self.directory)
        self.assertEqual(os.listdir(self.directory), ["thesis.txt"])
        self.refused(1, [self.directory], "down", "--dir", self.directory)
        self.refused(1, [self.home + "/nowhere"], "down", "--dir", self.home + "/nowhere")

    def test_a_newer_format_is_refused(self):
        os.mkdir(self.directory)
        with open(self.directory + "/SHEAF", "w") as file:
            file.write("sheaf state directory\nkind=local-cluster\nformat=99\n"
                       "uuid=1b4e28ba-2fa1-41d2-883f-0016d3cca427\n")
        self.refused(1, [self.directory, "format 99", "newer"], "up", "--dir", self.directory)

    def test_a_mount_point_that_is_not_empty_is_refused(self):
        full = self.make_full()
        self.refused(2, [full, "not empty"], "up", "--dir", self.directory, "--mount", full)
        self.assertEqual(self.pids(), {})

    def test_every_daemon_names_an_unknown_key_of_its_configuration(self):
        for program in ["sheaf-meta", "sheaf-storage"]:
            path = os.path.join(self.home, program + ".toml")
            with open(path, "w") as file:
                file.write('colour = "blue"\n')
            done = subprocess.run([binary(program), "--config", path], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True, timeout=60)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn("colour", done.stderr)


if __name__ == "__main__":
    unittest.main()
