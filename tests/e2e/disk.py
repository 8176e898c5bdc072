"""Disks of a test's own, for what goes wrong with disks: ext4 in a file, mounted by a loop device.

Programs skip where that cannot be done, but fail when CI=true.
"""

import fcntl
import os
import struct
import subprocess
import unittest

from cluster import is_mounted, run, wait_until

# ext4's and XFS's: from then on every access is EIO, as of a disk that was pulled. Nothing that was
# not synced reaches the disk.
SHUTDOWN_REQUEST = 0x8004587D
SHUTDOWN_WITHOUT_LOG = 2


def check_loop():
    """Skips where there are no loop mounts, but never in CI."""
    missing = None
    if os.geteuid() != 0:
        missing = "loop mounts need root"
    elif not os.path.exists("/dev/loop-control"):
        missing = "/dev/loop-control is missing: run modprobe loop"
    if missing and os.environ.get("CI") == "true":
        raise AssertionError(missing)
    if missing:
        raise unittest.SkipTest(missing)


class Disk:
    """One file system. `clean_up` may be called in any state, also twice."""

    def __init__(self, image, mib):
        check_loop()
        self.image = image
        self.point = None
        with open(image, "wb") as file:
            file.truncate(mib << 20)
        run(["mkfs.ext4", "-q", "-F", image])

    def mount(self, point):
        os.makedirs(point, exist_ok=True)
        run(["mount", "-o", "loop", self.image, point])
        self.point = point

    def unmount(self):
        # What a killed process had registered with io_uring is let go some time after its end.
        wait_until(lambda: subprocess.run(["umount", self.point]).returncode == 0, 60,
                   "unmounting " + self.point)

    def set_read_only(self, read_only):
        # The same holds for what a stopped one had open, while its last threads go.
        command = ["mount", "-o", "remount," + ("ro" if read_only else "rw"), self.point]
        wait_until(lambda: subprocess.run(command).returncode == 0, 60, " ".join(command))

    def fail(self):
        """At once, under whoever uses it."""
        fd = os.open(self.point, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN_REQUEST, struct.pack("I", SHUTDOWN_WITHOUT_LOG))
        finally:
            os.close(fd)

    def freeze(self):
        """From now on writes and syncs wait, as on a disk that hangs."""
        run(["fsfreeze", "--freeze", self.point])

    def thaw(self):
        run(["fsfreeze", "--unfreeze", self.point])

    def repair(self):
        """As an operator would, once nobody uses it any more."""
        self.unmount()
        self.mount(self.point)

    def fill(self):
        """Leaves no block free; answers the file to remove for space."""
        path = os.path.join(self.point, "ballast")
        for piece in [1 << 20, 4096]:
            try:
                with open(path, "ab", buffering=0) as file:
                    while True:
                        file.write(bytes(piece))
                        os.fsync(file.fileno())
            except OSError:
                pass
        return path

    def clean_up(self):
        if self.point:
            subprocess.run(["fsfreeze", "--unfreeze", self.point], stderr=subprocess.DEVNULL)
        while self.point and is_mounted(self.point):
            if subprocess.run(["umount", "-l", self.point]).returncode != 0:
                break


def put_on_disk(cluster, name, mib):
    """Moves the state of one server, which does not run, to a disk of its own."""
    state = os.path.join(cluster.directory, "data", name)
    disk = Disk(os.path.join(cluster.root, name + ".img"), mib)
    cluster.at_end.append(disk.clean_up)
    staging = os.path.join(cluster.root, name + ".staging")
    disk.mount(staging)
    run(["cp", "-a", "--sparse=always", state + "/.", staging])
    disk.unmount()
    disk.mount(state)
    return disk
