"""`sheaf status --watch`: on a terminal, into a pipe, as JSON, and while the service is away."""

import json
import os
import pty
import select
import signal
import subprocess
import time
import unittest

from command import CommandTest, binary

CLEAR = b"\x1b[H\x1b[2J"
PATIENCE_SECONDS = 60


def read_until(descriptor, condition):
    """What comes until the condition holds of all of it."""
    seen = b""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition(seen):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            raise AssertionError("not within %d s; seen: %r" % (PATIENCE_SECONDS, seen[-2000:]))
        more = os.read(descriptor, 65536)
        if not more:
            raise AssertionError("ended; seen: %r" % seen[-2000:])
        seen += more
    return seen


class WatchTest(CommandTest):
    def watch(self, *arguments, **streams):
        address = self.meta()
        process = subprocess.Popen(
            [binary("sheaf"), "status", "--watch", "--interval", "0.1", "--meta", address, *arguments],
            stdin=subprocess.DEVNULL, **streams)
        self.addCleanup(self.end, process)
        return process

    def end(self, process):
        process.kill()
        process.wait()
        for stream in [process.stdout, process.stderr]:
            if stream:
                stream.close()

    def test_each_way_to_watch(self):
        self.up("--storage", "1", "--no-mount")
        with self.subTest("a terminal is cleared for each look"):
            ours, theirs = pty.openpty()
            self.addCleanup(os.close, ours)
            process = self.watch(stdout=theirs)
            os.close(theirs)
            seen = read_until(ours, lambda text: text.count(CLEAR) >= 3)
            self.assertIn(b"health", seen)
            process.send_signal(signal.SIGINT)
            self.assertEqual(process.wait(PATIENCE_SECONDS), -signal.SIGINT)
        with self.subTest("into a pipe one table follows the other"):
            process = self.watch(stdout=subprocess.PIPE)
            seen = read_until(process.stdout.fileno(), lambda text: text.count(b"health") >= 3)
            self.assertNotIn(b"\x1b", seen)
            process.stdout.close()  # as `| head` does
            self.assertEqual(process.wait(PATIENCE_SECONDS), 0)
        with self.subTest("JSON is one object a line, and it goes on over a restart"):
            process = self.watch("--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            seen = read_until(process.stdout.fileno(), lambda text: text.count(b"\n") >= 3)
            for line in seen.split(b"\n")[:3]:
                self.assertEqual(json.loads(line)["health"], "ok")
            self.ok("down", "--dir", self.directory)
            complaint = read_until(process.stderr.fileno(), lambda text: text.count(b"\n") >= 1)
            self.assertIn(b"sheaf status: error: ", complaint)
            self.up("--no-mount")
            read_until(process.stdout.fileno(), lambda text: b'"health":"ok"' in text)
            self.assertIsNone(process.poll())

    def test_interval_needs_watch_and_is_checked(self):
        self.refused(2, ["--interval"], "status", "--interval", "2")
        self.refused(2, ["--interval", "0"], "status", "--watch", "--interval", "0")


if __name__ == "__main__":
    unittest.main()
