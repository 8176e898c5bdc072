"""Runs the `sheaf` command as a person would, with a home directory of its own."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from cluster import binary, check_fuse  # noqa: E402

SECONDS = 180  # longest for one command


class CommandTest(unittest.TestCase):
    """Each test has a home directory; what it started there is stopped however the test ends."""

    def setUp(self):
        self.home = tempfile.mkdtemp(prefix="sheaf-e2e-cli.", dir=os.environ.get("SHEAF_E2E_DIR"))
        self.addCleanup(self.clean_up)
        self.directory = os.path.join(self.home, "cluster")
        self.mount = os.path.join(self.directory, "mnt")

    def clean_up(self):
        if os.path.isdir(self.directory):
            self.sheaf("down", "--dir", self.directory, "--force", "--wait", "20")
        for pid in self.pids().values():
            try:
                os.kill(pid, 9)
            except OSError:
                pass
        if os.environ.get("SHEAF_E2E_KEEP") != "1":
            shutil.rmtree(self.home, ignore_errors=True)

    def sheaf(self, *arguments, cwd=None, **environment):
        env = {key: value for key, value in os.environ.items() if key != "SHEAF_META"}
        env.update({"HOME": self.home}, **environment)
        return subprocess.run([binary("sheaf"), *arguments], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env,
                              cwd=cwd or self.home, timeout=SECONDS)

    def ok(self, *arguments, **options):
        done = self.sheaf(*arguments, **options)
        self.assertEqual(done.returncode, 0, "%s\n%s%s" % (arguments, done.stdout, done.stderr))
        return done.stdout

    def refused(self, code, words, *arguments, **options):
        """The exit code, and one error that has all the words."""
        done = self.sheaf(*arguments, **options)
        self.assertEqual(done.returncode, code, "%s\n%s%s" % (arguments, done.stdout, done.stderr))
        self.assertTrue(done.stderr.startswith("sheaf"), done.stderr)
        self.assertIn("error: ", done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        return done.stderr

    def pids(self):
        """The daemons of the test's cluster that live, by name."""
        found = {}
        run = os.path.join(self.directory, "run")
        for name in os.listdir(run) if os.path.isdir(run) else []:
            if not name.endswith(".pid"):
                continue
            with open(os.path.join(run, name)) as file:
                pid = int(file.read() or 0)
            try:
                with open("/proc/%d/cmdline" % pid) as file:
                    if self.directory in file.read():
                        found[name[:-4]] = pid
            except OSError:
                pass
        return found

    def up(self, *arguments):
        check_fuse()
        return self.ok("up", "--dir", self.directory, *arguments)

    def meta(self):
        with open(os.path.join(self.directory, "meta.addr")) as file:
            return file.read().strip()
