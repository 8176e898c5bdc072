"""What POSIX promises to programs, asked of a real mount over a real cluster."""

import ctypes
import errno
import fcntl
import mmap
import multiprocessing
import os
import random
import stat
import subprocess
import sys
import unittest

from cluster import ClusterTest, run

AT_FDCWD = -100
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
PAGE = 4096
GIB = 1 << 30

libc = ctypes.CDLL(None, use_errno=True)


def renameat2(old, new, flags):
    if libc.renameat2(AT_FDCWD, old.encode(), AT_FDCWD, new.encode(), flags) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def write(path, data):
    with open(path, "wb") as out:
        out.write(data)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def aligned(size):
    """Memory that O_DIRECT takes."""
    return mmap.mmap(-1, size)


def append_lines(path, worker, count):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    for i in range(count):
        os.write(fd, b"%02d:%06d\n" % (worker, i))
    os.close(fd)


class PosixTest(ClusterTest):
    def assertErrno(self, number, call, *arguments, **options):
        with self.assertRaises(OSError) as caught:
            call(*arguments, **options)
        self.assertEqual(errno.errorcode[caught.exception.errno], errno.errorcode[number])

    def as_nobody(self, command):
        """The exit code of a shell command run as another user."""
        return subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", command],
            stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL).returncode

    # --- data ---

    def test_shared_mapping_reads_and_writes(self):
        path = self.path("file")
        write(path, b"a" * (10 * PAGE))
        with open(path, "r+b") as file:
            with mmap.mmap(file.fileno(), 10 * PAGE, mmap.MAP_SHARED) as memory:
                self.assertEqual(memory[5 * PAGE], ord("a"))
                memory[5 * PAGE : 5 * PAGE + 5] = b"hello"
                memory.flush()
                self.assertEqual(os.pread(file.fileno(), 5, 5 * PAGE), b"hello")
                os.pwrite(file.fileno(), b"world", 7 * PAGE)
                self.assertEqual(memory[7 * PAGE : 7 * PAGE + 5], b"world")
                memory[9 * PAGE] = ord("z")  # no flush: written back at unmap
        self.assertEqual(read(path)[9 * PAGE], ord("z"))

    def test_appends_of_several_processes_keep_every_line(self):
        path = self.path("log")
        write(path, b"")
        workers, count = 4, 300
        processes = [multiprocessing.Process(target=append_lines, args=(path, i, count))
                     for i in range(workers)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
            self.assertEqual(process.exitcode, 0)
        lines = read(path).decode().splitlines()
        self.assertEqual(len(lines), workers * count)
        for worker in range(workers):
            own = [line for line in lines if line.startswith("%02d:" % worker)]
            self.assertEqual(own, ["%02d:%06d" % (worker, i) for i in range(count)])

    def test_direct_io_agrees_with_cached_io(self):
        path = self.path("file")
        write(path, b"c" * (4 * PAGE))
        self.assertEqual(read(path)[:1], b"c")
        buffer = aligned(2 * PAGE)
        fd = os.open(path, os.O_RDWR | os.O_DIRECT)
        buffer.write(b"d" * 2 * PAGE)
        self.assertEqual(os.pwritev(fd, [buffer], PAGE), 2 * PAGE)
        self.assertEqual(read(path), b"c" * PAGE + b"d" * 2 * PAGE + b"c" * PAGE)
        with open(path, "r+b") as cached:
            cached.seek(PAGE)
            cached.write(b"e" * PAGE)
        self.assertEqual(os.preadv(fd, [buffer], PAGE), 2 * PAGE)
        self.assertEqual(buffer[:PAGE], b"e" * PAGE)
        os.close(fd)

    def test_holes_read_as_zeros(self):
        path = self.path("sparse")
        with open(path, "wb") as file:
            file.truncate(10 << 20)
            file.seek(5 << 20)
            file.write(b"x")
        self.assertEqual(os.stat(path).st_size, 10 << 20)
        data = read(path)
        self.assertEqual(data.count(b"\0"), len(data) - 1)
        self.assertEqual(data[5 << 20], ord("x"))

    def test_offsets_beyond_four_gib(self):
        path = self.path("big")
        fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        for offset in [4 * GIB - 3, 4 * GIB + 123, 40 * GIB + 1]:
            data = b"at %d" % offset
            os.pwrite(fd, data, offset)
            self.assertEqual(os.pread(fd, len(data), offset), data)
        self.assertEqual(os.fstat(fd).st_size, 40 * GIB + 1 + len(data))
        self.assertEqual(os.pread(fd, 3, 4 * GIB - 3), b"at ")
        self.assertEqual(os.pread(fd, 4, 20 * GIB), b"\0\0\0\0")
        os.close(fd)

    def test_truncation_forgets_what_was_cut(self):
        path = self.path("file")
        write(path, b"x" * 100_000)
        os.truncate(path, 10)
        os.truncate(path, 100_000)
        self.assertEqual(read(path), b"x" * 10 + b"\0" * 99_990)
        with open(path, "wb"):
            pass
        os.truncate(path, 5)
        self.assertEqual(read(path), b"\0" * 5)

    def test_random_writes_match_a_model(self):
        seed = int(os.environ.get("SHEAF_SEED", random.randrange(1 << 32)))
        print("SHEAF_SEED=%d" % seed, file=sys.stderr)
        dice = random.Random(seed)
        path, model = self.path("file"), bytearray()
        fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        for _ in range(300):
            if dice.random() < 0.1:
                size = dice.randrange(9 << 20)
                os.ftruncate(fd, size)
                model = model[:size] + bytes(max(0, size - len(model)))
                continue
            offset = dice.randrange(9 << 20)
            data = dice.randbytes(dice.choice([1, 511, 4096, 70_001, 1_100_000]))
            os.pwrite(fd, data, offset)
            model += bytes(max(0, offset + len(data) - len(model)))
            model[offset : offset + len(data)] = data
        self.assertEqual(os.fstat(fd).st_size, len(model))
        os.close(fd)
        self.assertTrue(read(path) == model)

    def test_vectors_and_odd_offsets(self):
        fd = os.open(self.path("file"), os.O_CREAT | os.O_RDWR, 0o644)
        self.assertEqual(os.pwritev(fd, [b"abc", b"defg", b"h"], 7), 8)
        self.assertEqual(os.pread(fd, 100, 0), b"\0" * 7 + b"abcdefgh")
        os.close(fd)

    # --- names ---

    def test_names_of_255_bytes(self):
        for name in ["n" * 255, "ü" * 127, "new\nline", "back\\slash", " "]:
            write(self.path(name), name.encode())
            self.assertEqual(read(self.path(name)), name.encode())
        self.assertErrno(errno.ENAMETOOLONG, write, self.path("n" * 256), b"")
        self.assertErrno(errno.ENAMETOOLONG, os.mkdir, self.path("n" * 256))
        self.assertErrno(errno.ENAMETOOLONG, os.stat, self.path("n" * 256))
        self.assertErrno(errno.ENAMETOOLONG, os.stat, self.path(*["d" * 200] * 25))

    def test_errors_say_what_is_wrong(self):
        write(self.path("file"), b"")
        os.mkdir(self.path("dir"))
        write(self.path("dir", "child"), b"")
        self.assertErrno(errno.ENOENT, os.stat, self.path("none"))
        self.assertErrno(errno.EEXIST, os.mkdir, self.path("dir"))
        self.assertErrno(errno.ENOTEMPTY, os.rmdir, self.path("dir"))
        self.assertErrno(errno.ENOTDIR, os.stat, self.path("file", "below"))
        self.assertErrno(errno.ENOTDIR, os.rmdir, self.path("file"))
        self.assertErrno(errno.EISDIR, os.unlink, self.path("dir"))
        self.assertErrno(errno.EISDIR, os.open, self.path("dir"), os.O_WRONLY)
        self.assertErrno(errno.EINVAL, os.rename, self.path("dir"), self.path("dir", "below"))
        self.assertErrno(errno.EISDIR, os.rename, self.path("file"), self.path("dir"))
        os.symlink("loop", self.path("loop"))
        self.assertErrno(errno.ELOOP, os.stat, self.path("loop"))

    def test_unlinked_file_lives_while_open(self):
        path = self.path("file")
        fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        os.write(fd, b"before")
        os.unlink(path)
        self.assertErrno(errno.ENOENT, os.stat, path)
        os.write(fd, b" after")
        os.fsync(fd)
        self.assertEqual(os.pread(fd, 100, 0), b"before after")
        self.assertEqual(os.fstat(fd).st_nlink, 0)
        os.close(fd)

    def test_rename_over_an_open_file(self):
        write(self.path("new"), b"new")
        write(self.path("old"), b"old")
        with open(self.path("old"), "rb") as held:
            os.rename(self.path("new"), self.path("old"))
            self.assertEqual(read(self.path("old")), b"new")
            self.assertEqual(held.read(), b"old")
        self.assertEqual(os.listdir(self.directory), ["old"])

    def test_rename_flags(self):
        write(self.path("a"), b"A")
        write(self.path("b"), b"B")
        self.assertErrno(errno.EEXIST, renameat2, self.path("a"), self.path("b"), RENAME_NOREPLACE)
        renameat2(self.path("a"), self.path("b"), RENAME_EXCHANGE)
        self.assertEqual((read(self.path("a")), read(self.path("b"))), (b"B", b"A"))
        renameat2(self.path("a"), self.path("c"), RENAME_NOREPLACE)
        self.assertEqual(sorted(os.listdir(self.directory)), ["b", "c"])

    def test_directory_moves_with_its_contents(self):
        os.makedirs(self.path("a", "b", "c"))
        write(self.path("a", "b", "c", "file"), b"x")
        os.mkdir(self.path("z"))
        os.rename(self.path("a", "b"), self.path("z", "b"))
        self.assertEqual(read(self.path("z", "b", "c", "file")), b"x")
        self.assertEqual(os.stat(self.path("z", "b", "..")).st_ino, os.stat(self.path("z")).st_ino)
        self.assertEqual(os.stat(self.path("a")).st_nlink, 2)
        self.assertEqual(os.stat(self.path("z")).st_nlink, 3)

    def test_hard_links_share_one_file(self):
        write(self.path("a"), b"one")
        os.link(self.path("a"), self.path("b"))
        with open(self.path("b"), "ab") as file:
            file.write(b" two")
        self.assertEqual(read(self.path("a")), b"one two")
        self.assertEqual(os.stat(self.path("a")).st_nlink, 2)
        os.unlink(self.path("a"))
        self.assertEqual(os.stat(self.path("b")).st_nlink, 1)
        self.assertErrno(errno.EPERM, os.link, self.directory, self.path("dirlink"))

    def test_readdir_while_five_thousand_files_go(self):
        count = 5000
        for i in range(count):
            os.mknod(self.path("file%d" % i))
        removed = 0
        with os.scandir(self.directory) as entries:
            for entry in entries:
                os.unlink(entry.path)
                removed += 1
        self.assertEqual(removed, count)
        self.assertEqual(os.listdir(self.directory), [])

    def test_readdir_shows_each_of_many_files_once(self):
        names = {"file%05d" % i for i in range(3000)}
        for name in names:
            os.mknod(self.path(name))
        found = os.listdir(self.directory)
        self.assertEqual(len(found), len(names))
        self.assertEqual(set(found), names)

    def test_special_files(self):
        os.mkfifo(self.path("fifo"), 0o640)
        self.assertTrue(stat.S_ISFIFO(os.lstat(self.path("fifo")).st_mode))
        if os.geteuid() == 0:
            os.mknod(self.path("null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
            self.assertEqual(os.lstat(self.path("null")).st_rdev, os.makedev(1, 3))

    def test_locks_exclude_each_other(self):
        write(self.path("lock"), b"")
        with open(self.path("lock"), "r+b") as first, open(self.path("lock"), "r+b") as second:
            fcntl.flock(first, fcntl.LOCK_EX)
            self.assertErrno(errno.EWOULDBLOCK, fcntl.flock, second, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(first, fcntl.LOCK_UN)
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)

    # --- attributes ---

    def test_times_keep_nanoseconds(self):
        path = self.path("file")
        write(path, b"x")
        for when in [(1, 2), (1_600_000_000_123_456_789, 1_700_000_000_987_654_321), (-1, -10**9)]:
            os.utime(path, ns=when)
            self.assertEqual((os.stat(path).st_atime_ns, os.stat(path).st_mtime_ns), when)
        os.symlink("file", self.path("link"))
        os.utime(self.path("link"), ns=(5, 6), follow_symlinks=False)
        self.assertEqual(os.lstat(self.path("link")).st_mtime_ns, 6)

    def test_times_set_on_a_written_descriptor_stay(self):
        fd = os.open(self.path("file"), os.O_CREAT | os.O_WRONLY, 0o644)
        os.write(fd, b"x" * 10)
        os.utime(fd, ns=(111, 222))
        os.fchmod(fd, 0o600)
        os.close(fd)
        attr = os.stat(self.path("file"))
        self.assertEqual((attr.st_atime_ns, attr.st_mtime_ns, attr.st_size), (111, 222, 10))

    def test_times_seen_before_close_are_final(self):
        fd = os.open(self.path("file"), os.O_CREAT | os.O_WRONLY, 0o644)
        os.write(fd, b"x")
        seen = os.fstat(fd).st_mtime_ns
        os.close(fd)
        self.assertEqual(os.stat(self.path("file")).st_mtime_ns, seen)

    def test_a_write_moves_the_mtime(self):
        path = self.path("file")
        write(path, b"x")
        os.utime(path, ns=(1, 1))
        with open(path, "ab") as file:
            file.write(b"y")
        self.assertGreater(os.stat(path).st_mtime_ns, 10**18)

    def test_extended_attributes(self):
        path = self.path("file")
        write(path, b"")
        os.setxattr(path, "user.one", b"1")
        self.assertErrno(errno.EEXIST, os.setxattr, path, "user.one", b"2", os.XATTR_CREATE)
        self.assertErrno(errno.ENODATA, os.setxattr, path, "user.two", b"2", os.XATTR_REPLACE)
        os.setxattr(path, "user.large", b"v" * 60_000)
        self.assertEqual(os.getxattr(path, "user.large"), b"v" * 60_000)
        self.assertEqual(sorted(os.listxattr(path)), ["user.large", "user.one"])
        with self.assertRaises(OSError) as caught:
            os.setxattr(path, "user.huge", b"v" * 65_537)
        self.assertIn(caught.exception.errno, [errno.E2BIG, errno.ERANGE, errno.ENOSPC])
        self.assertErrno(errno.ERANGE, os.setxattr, path, "user." + "n" * 255, b"")
        os.removexattr(path, "user.one")
        self.assertErrno(errno.ENODATA, os.getxattr, path, "user.one")
        os.setxattr(self.directory, "user.dir", b"d")
        self.assertEqual(os.getxattr(self.directory, "user.dir"), b"d")

    def test_set_id_bits_go_with_a_foreign_write(self):
        path = self.path("file")
        write(path, b"x")
        os.chmod(path, 0o6777)
        self.assertEqual(os.stat(path).st_mode & 0o7777, 0o6777)
        if os.geteuid() == 0:
            self.assertEqual(self.as_nobody("echo y >> '%s'" % path), 0)
            self.assertEqual(os.stat(path).st_mode & 0o6000, 0)

    def test_umask_and_inherited_group(self):
        old = os.umask(0o027)
        try:
            write(self.path("file"), b"")
            os.mkdir(self.path("dir"))
        finally:
            os.umask(old)
        self.assertEqual(os.stat(self.path("file")).st_mode & 0o777, 0o640)
        self.assertEqual(os.stat(self.path("dir")).st_mode & 0o777, 0o750)
        if os.geteuid() == 0:
            os.chown(self.path("dir"), 0, 1234)
            os.chmod(self.path("dir"), 0o2775)
            write(self.path("dir", "file"), b"")
            os.mkdir(self.path("dir", "sub"))
            self.assertEqual(os.stat(self.path("dir", "file")).st_gid, 1234)
            self.assertEqual(os.stat(self.path("dir", "sub")).st_mode & 0o2000, 0o2000)

    def test_file_system_size(self):
        stats = os.statvfs(self.directory)
        self.assertGreater(stats.f_blocks, 0)
        self.assertGreaterEqual(stats.f_blocks, stats.f_bavail)
        self.assertEqual(stats.f_namemax, 255)

    # --- permissions ---

    @unittest.skipUnless(os.geteuid() == 0, "needs root to act as another user")
    def test_permissions_hold_for_another_user(self):
        os.chmod(self.directory, 0o755)
        write(self.path("private"), b"x")
        os.chmod(self.path("private"), 0o600)
        write(self.path("public"), b"x")
        os.chmod(self.path("public"), 0o644)
        os.mkdir(self.path("open"))
        os.chmod(self.path("open"), 0o1777)
        write(self.path("open", "roots"), b"x")
        quoted = "'%s'" % self.directory
        self.assertEqual(self.as_nobody("cat %s/public" % quoted), 0)
        for refused in ["cat %s/private", "echo x > %s/public", "touch %s/new", "rm %s/public",
                        "chmod 777 %s/public", "chown 65534 %s/public", "rm -f %s/open/roots",
                        "mkdir %s/dir", "ln %s/private %s/open/link", "mv %s/public %s/open/p"]:
            command = refused.replace("%s", quoted)
            self.assertNotEqual(self.as_nobody(command), 0, command)
        self.assertEqual(self.as_nobody("echo mine > %s/open/mine" % quoted), 0)
        self.assertEqual(os.stat(self.path("open", "mine")).st_uid, 65534)
        self.assertEqual(self.as_nobody("chmod 400 %s/open/mine && rm -f %s/open/mine" %
                                        (quoted, quoted)), 0)

    @unittest.skipUnless(os.geteuid() == 0, "needs root to act as another user")
    def test_supplementary_groups_count(self):
        os.mkdir(self.path("group"))
        os.chown(self.path("group"), 0, 4321)
        os.chmod(self.path("group"), 0o770)
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--groups=4321", "touch",
                   self.path("group", "file")]
        run(command)
        self.assertNotEqual(self.as_nobody("touch '%s'" % self.path("group", "other")), 0)

    @unittest.skipUnless(os.geteuid() == 0, "needs root to act as another user")
    def test_a_read_only_file_is_written_by_its_creators_handle(self):
        os.chmod(self.directory, 0o777)
        code = ("import os; fd = os.open('%s', os.O_CREAT | os.O_RDWR, 0o400); os.write(fd, b'x');"
                "os.ftruncate(fd, 5); os.close(fd)") % self.path("file")
        run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c",
             code])
        self.assertEqual(read(self.path("file")), b"x\0\0\0\0")


if __name__ == "__main__":
    unittest.main(verbosity=2)
