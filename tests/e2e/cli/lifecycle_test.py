"""A cluster through `sheaf up` and `sheaf down`, and what goes wrong between them."""

import json
import os
import signal
import socket
import subprocess
import unittest

from command import CommandTest, binary
from cluster import free_port, is_mounted, wait_until


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class LifecycleTest(CommandTest):
    def write(self, name, text):
        with open(os.path.join(self.mount, name), "w") as file:
            file.write(text)

    def read(self, name):
        with open(os.path.join(self.mount, name)) as file:
            return file.read()

    def config(self, name):
        return os.path.join(self.directory, "config", name + ".toml")

    def address(self, name, key):
        with open(self.config(name)) as file:
            for line in file:
                if line.startswith(key + " = "):
                    return line.split('"')[1]
        raise AssertionError("%s has no %s" % (name, key))

    def test_up_down_and_up_again(self):
        text = self.up()
        self.assertIn(self.mount, text)
        self.assertEqual(sorted(self.pids()), ["meta", "mount", "storage-0", "storage-1", "storage-2"])
        self.assertTrue(is_mounted(self.mount))
        self.write("file", "kept")

        before = self.pids()
        self.assertIn("already running", self.up())
        self.assertEqual(self.pids(), before)

        # Inside the mount no address has to be given.
        status = json.loads(self.ok("status", "--json", cwd=self.mount))
        self.assertEqual(status["health"], "ok")
        self.assertEqual([node["state"] for node in status["nodes"]], ["up"] * 3)
        self.assertEqual(len(status["chains"]), 8)  # 3 targets, 8 chains each, of 3 replicas
        for key in ["targets", "resync", "files", "used_bytes", "raw_used_bytes", "total_bytes",
                    "removal_backlog"]:
            self.assertIn(key, status)
        self.assertIn("health", self.ok("status", SHEAF_META=self.meta()))

        self.assertIn("is down", self.ok("down", "--dir", self.directory))
        self.assertFalse(is_mounted(self.mount))
        self.assertEqual(self.pids(), {})
        for pid in before.values():
            self.assertFalse(alive(pid))
        self.assertIn("was not running", self.ok("down", "--dir", self.directory))

        self.up()
        self.assertEqual(self.read("file"), "kept")

    def test_killed_all_at_once_it_comes_back_with_all_that_was_synced(self):
        self.up("--storage", "2")
        self.write("file", "kept")
        subprocess.run(["sync", "-f", self.mount], check=True)
        pids = self.pids()
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(alive(pid) for pid in pids.values()), 30, "the end of all")
        self.up()
        self.assertEqual(self.read("file"), "kept")
        self.assertEqual(set(self.pids()), set(pids))

    def test_one_killed_daemon_is_started_again_alone(self):
        self.up("--storage", "2")
        before = self.pids()
        os.kill(before["storage-1"], signal.SIGKILL)
        wait_until(lambda: not alive(before["storage-1"]), 30, "its end")
        self.up()
        after = self.pids()
        self.assertNotEqual(after["storage-1"], before["storage-1"])
        self.assertEqual({**after, "storage-1": 0}, {**before, "storage-1": 0})

    def test_a_taken_port_is_left_to_its_owner(self):
        self.up("--storage", "1", "--no-mount")
        self.ok("down", "--dir", self.directory)
        before = self.address("storage-0", "listen")
        with socket.socket() as other:
            host, port = before.split(":")
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind((host, int(port)))
            other.listen()
            self.up("--no-mount")
            self.assertNotEqual(self.address("storage-0", "listen"), before)

    def test_a_daemon_that_fails_is_named_with_its_last_words_and_all_are_stopped(self):
        self.up("--storage", "2")
        self.ok("down", "--dir", self.directory)
        with open(self.config("storage-1")) as file:
            text = file.read()
        with open(self.config("storage-1"), "w") as file:
            file.write('colour = "blue"\n' + text)
        error = self.refused(1, ["storage-1", "exit code 2", "colour"], "up", "--dir", self.directory)
        self.assertNotIn("meta (pid", error)
        self.assertEqual(self.pids(), {})
        self.assertFalse(is_mounted(self.mount))
        with open(self.config("storage-1"), "w") as file:
            file.write(text)
        self.up()

    def test_a_second_daemon_on_the_same_directory_is_refused(self):
        self.up("--storage", "1", "--no-mount")
        ports = [free_port() for _ in range(3)]
        for name, program, keys in [("meta", "sheaf-meta", ["listen", "metrics", "framed"]),
                                    ("storage-0", "sheaf-storage", ["listen", "grpc", "metrics"])]:
            with open(self.config(name)) as file:
                text = file.read()
            for key, port in zip(keys, ports):
                text = text.replace(self.address(name, key), "127.0.0.1:%d" % port)
            text = text.replace(".sock", ".second.sock").replace(".log", ".second.log")
            path = os.path.join(self.home, "second-%s.toml" % name)
            with open(path, "w") as file:
                file.write(text)
            done = subprocess.run([binary(program), "--config", path], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True, timeout=60)
            self.assertEqual(done.returncode, 1, program + done.stderr)
            self.assertIn(os.path.join(self.directory, "data"), done.stderr)
            self.assertIn("another process", done.stderr)
            # The same ports: the address is what is named then, or the directory.
            done = subprocess.run([binary(program), "--config", self.config(name)],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
            self.assertEqual(done.returncode, 1, program + done.stderr)
        self.assertEqual(sorted(self.pids()), ["meta", "storage-0"])

    def test_replicas_lie_on_different_servers(self):
        self.up("--storage", "3", "--replicas", "2", "--no-mount")
        meta = ["--meta", self.meta(), "--json"]
        status = json.loads(self.ok("status", *meta))
        nodes = {target["id"]: target["node"] for target in status["targets"]}
        self.assertEqual(len(status["chains"]), 12)
        for chain in status["chains"]:
            self.assertEqual(len({nodes[target["id"]] for target in chain["targets"]}), 2)
        self.refused(1, ["2 replicas", "asked for 3"], "up", "--dir", self.directory, "--no-mount",
                     "--replicas", "3")
        self.refused(2, ["--replicas 4", "3 storage servers"], "up", "--dir", self.directory,
                     "--no-mount", "--replicas", "4")

    def test_any_one_server_of_a_dead_cluster_brings_its_chains_back(self):
        self.up("--storage", "3", "--replicas", "3", "--no-mount")
        meta = ["--meta", self.meta()]

        def status():
            return json.loads(self.ok("status", *meta, "--json"))

        pids = {name: pid for name, pid in self.pids().items() if name.startswith("storage-")}
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(alive(pid) for pid in pids.values()), 30, "the end of all")
        one = subprocess.Popen([binary("sheaf-storage"), "--config", self.config("storage-1")],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: self.ok("chain", "list", *meta).count("offline") == 2 * 8, 30,
                       "chains that go on with one")
            self.assertEqual(status()["health"], "degraded")
            one.kill()
            one.wait()
            wait_until(lambda: status()["health"] == "down", 30, "its end")
            chain = status()["chains"][0]
            last = [target["id"] for target in chain["targets"] if target["state"] == "lastserving"]
            self.assertEqual([chain["waiting_for"]], last)
        finally:
            one.kill()
            one.wait()

    def test_lists_show_what_a_cluster_is_made_of(self):
        self.up("--storage", "2", "--no-mount")
        meta = ["--meta", self.meta()]
        status = json.loads(self.ok("status", *meta, "--json"))
        nodes = json.loads(self.ok("node", "list", *meta, "--json"))["nodes"]
        targets = json.loads(self.ok("target", "list", *meta, "--json"))["targets"]
        chains = json.loads(self.ok("chain", "list", *meta, "--json"))["chains"]
        self.assertEqual([(node["id"], node["address"], node["state"], node["pid"]) for node in nodes],
                         [(node["id"], node["address"], node["state"], node["pid"])
                          for node in status["nodes"]])
        self.assertEqual([target["id"] for target in targets],
                         [target["id"] for target in status["targets"]])
        self.assertEqual(sum(len(target["chains"]) for target in targets), 16)
        self.assertEqual(chains, status["chains"])
        self.assertIn(nodes[1]["address"], self.ok("node", "list", *meta))
        self.assertIn("serving", self.ok("target", "list", *meta))
        self.assertIn("serving", self.ok("chain", "list", *meta))
        self.refused(2, ["subcommand", "sheaf node --help"], "node")

    def test_the_number_of_servers_of_a_cluster_is_kept(self):
        self.up("--storage", "1", "--no-mount")
        self.refused(2, ["--storage 2", "1 storage servers"], "up", "--dir", self.directory,
                     "--storage", "2")

    def test_a_mount_in_use_is_named_and_nothing_is_stopped(self):
        self.up("--storage", "1")
        user = subprocess.Popen(["tail", "-f", "/dev/null"], cwd=self.mount)
        try:
            self.refused(1, [self.mount, "tail (pid %d)" % user.pid], "down", "--dir", self.directory)
            self.assertEqual(sorted(self.pids()), ["meta", "mount", "storage-0"])
        finally:
            user.kill()
            user.wait()
        self.ok("down", "--dir", self.directory)

    def test_a_second_mount_and_its_end(self):
        self.up("--storage", "1")
        second = os.path.join(self.home, "second")
        os.mkdir(second)
        self.ok("mount", "--meta", self.meta(), second)
        try:
            self.write("file", "seen")
            with open(second + "/file") as file:
                self.assertEqual(file.read(), "seen")
        finally:
            self.ok("umount", second)
        self.assertFalse(is_mounted(second))

    def test_cp_takes_a_tree_in_and_out(self):
        self.up("--storage", "2")
        source, back = os.path.join(self.home, "source"), os.path.join(self.home, "back")
        os.makedirs(source + "/a/b")
        for i in range(50):
            with open("%s/a/b/%d" % (source, i), "wb") as file:
                file.write(os.urandom(i * 1000))
        with open(source + "/big", "wb") as file:
            file.write(os.urandom(70 << 20))
        os.symlink("a/b/1", source + "/link")
        os.link(source + "/a/b/2", source + "/hard")
        os.chmod(source + "/a/b/3", 0o4750)
        os.utime(source + "/a/b", ns=(10**18 + 5, 10**18 + 7))
        meta = ["--meta", self.meta()]
        self.ok("cp", source, "sheaf:/tree", *meta)
        self.compare(source, self.mount + "/tree")
        # By the mount's own path, without an address.
        self.ok("cp", self.mount + "/tree", back)
        self.compare(source, back)
        # Into a directory that is there.
        self.ok("cp", source + "/big", "sheaf:/tree/a", *meta)
        self.assertEqual(os.path.getsize(self.mount + "/tree/a/big"), 70 << 20)
        self.refused(1, ["missing"], "cp", source + "/missing", "sheaf:/tree", *meta)

    def compare(self, one, other):
        subprocess.run(["diff", "-r", "--no-dereference", one, other], check=True)
        for folder, folders, files in os.walk(one):
            for name in folders + files:
                path = os.path.join(folder, name)
                twin = os.path.join(other, os.path.relpath(path, one))
                want, got = os.lstat(path), os.lstat(twin)
                for field in ["st_mode", "st_uid", "st_gid", "st_mtime_ns"]:
                    self.assertEqual(getattr(got, field), getattr(want, field), twin + " " + field)
                if os.path.isfile(path):
                    self.assertEqual(got.st_nlink, want.st_nlink, twin)

    def test_bench_reports_what_it_measured(self):
        self.up("--storage", "2")
        meta = ["--meta", self.meta(), "--json"]
        for arguments, ops in [
            (["write", "sheaf:/bench", "--size", "8M"], 8),
            (["read", "sheaf:/bench", "--size", "8M"], 8),
            (["read", "sheaf:/bench", "--size", "8M", "--block", "4K", "--depth", "32", "--random"], 2048),
            (["read", "/fresh", "--size", "3.5M"], 4),
        ]:
            result = json.loads(self.ok("bench", *arguments, *meta))
            self.assertEqual(result["ops"], ops)
            self.assertEqual(result["errors"], 0)
            for key in ["ops_per_s", "mib_per_s", "p50_us", "p99_us", "cpu_s"]:
                self.assertGreater(result[key], 0, key)
        self.assertEqual(os.path.getsize(self.mount + "/fresh"), 3.5 * (1 << 20))
        self.refused(1, ["/no/such/file"], "bench", "write", "sheaf:/no/such/file", *meta)


if __name__ == "__main__":
    unittest.main()
