"""The files of deploy/ that an installation takes: systemd units, example configurations, and the
helper that mount(8) calls. The last part runs in a mount namespace of its own, as root."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import unittest
import urllib.request

from cluster import Cluster, Daemon, binary, free_port, is_mounted, run, wait_until

DEPLOY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../deploy")
SERVICES = ["sheaf-meta.service", "sheaf-storage.service"]
# systemd's figure for what a service could still reach: 0 nothing, 100 all.
EXPOSURE_MAX = 20
MARK = "SHEAF_TEST_IN_NAMESPACE"


def source(*names):
    with open(os.path.join(DEPLOY, *names)) as file:
        return file.read()


class UnitsTest(unittest.TestCase):
    def setUp(self):
        if not shutil.which("systemd-analyze"):
            self.fail("systemd-analyze is not installed: run deploy/install-deps.sh")
        self.folder = tempfile.mkdtemp(prefix="sheaf-units.")
        self.addCleanup(shutil.rmtree, self.folder, True)

    def place(self, name):
        """The unit, with the programs where this build has them."""
        text = source("systemd", name).replace("/usr/bin/sheaf-", binary("sheaf-"))
        path = os.path.join(self.folder, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def test_systemd_takes_the_units_without_a_word(self):
        for name in [*SERVICES, "mnt-sheaf.mount"]:
            with self.subTest(name):
                words = run(["systemd-analyze", "verify", "--man=no", self.place(name)])
                self.assertEqual(words, "")

    def test_a_wrong_unit_would_be_found(self):
        path = self.place(SERVICES[0])
        with open(path, "a") as file:
            file.write("[Service]\nProtectSistem=strict\n")
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", path],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertIn("ProtectSistem", done.stdout)

    def test_the_services_are_confined(self):
        for name in SERVICES:
            with self.subTest(name):
                run(["systemd-analyze", "security", "--offline=true", "--no-pager",
                     "--threshold=%d" % EXPOSURE_MAX, self.place(name)])

    def test_what_the_daemons_rely_on_is_in_the_units(self):
        for name in SERVICES:
            unit = source("systemd", name)
            for line in ["Restart=on-failure", "ExecReload=/bin/kill -HUP $MAINPID",
                         "ProtectSystem=strict", "User=sheaf", "RestartPreventExitStatus=2"]:
                self.assertIn("\n" + line + "\n", unit, name)
        self.assertIn("\nLimitMEMLOCK=infinity\n", source("systemd", "sheaf-storage.service"))
        self.assertRegex(source("systemd", "sheaf-storage.service"), r"\nLimitNOFILE=\d{6,}\n")
        self.assertRegex(source("systemd", "sheaf.sysusers"), r"(?m)^u sheaf ")


class ExampleConfigurationTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="sheaf-config.")
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.daemons = []
        self.addCleanup(lambda: [each.kill() for each in self.daemons])
        self.meta_port = free_port()

    def start(self, name, options=""):
        """The example as it is, but for addresses and folders of this test."""
        text = source("config", name + ".toml")
        text = text.replace("10.0.0.1:7700", "127.0.0.1:%d" % self.meta_port)
        text = re.sub(r"10\.0\.0\.\d+:77\d\d", lambda _: "127.0.0.1:%d" % free_port(), text)
        text = re.sub('"(/var/lib|/var/log|/srv)', '"' + self.folder, text)
        for each in ["sheaf", "sheaf/disk0", "sheaf/disk1"]:
            os.makedirs(os.path.join(self.folder, each), exist_ok=True)
        path = os.path.join(self.folder, name + ".toml")
        with open(path, "w") as file:
            file.write(text)
        daemon = Daemon(name, [binary("sheaf-" + name), "--config", path],
                        os.path.join(self.folder, name + ".log"))
        daemon.start()
        self.daemons.append(daemon)
        address = tomllib.loads(text)["metrics"]

        def answers():
            self.assertTrue(daemon.running(), daemon.log_tail())
            try:
                with urllib.request.urlopen("http://%s/metrics" % address, timeout=30) as answer:
                    return answer.read().decode()
            except OSError:
                return None

        wait_until(answers, 60, name + " with its example configuration")
        return daemon, answers

    def test_the_daemons_take_the_examples(self):
        meta, _ = self.start("meta")
        storage, metrics = self.start("storage")
        wait_until(lambda: "sheaf_storage_serving 1" in metrics(), 60, "a lease")
        storage.stop()
        meta.stop()

    def test_what_is_commented_out_is_the_default(self):
        """Each `# key = value` of an example is what --help gives as the key's default."""
        for name in ["meta", "storage"]:
            help_text = run([binary("sheaf-" + name), "--help"])
            table, seen = "", 0
            for line in source("config", name + ".toml").splitlines():
                table = line.split()[0][1:-1] + "." if line.startswith("[") else table
                match = re.match(r"# (\w+) = (\S+)", line)
                if not match or match.group(1) in ["advertise", "failure_domain"]:
                    continue
                key, value = match.groups()
                shown = re.search(r"(?m)^ +%s +.*\(([^()]*)\)$" % re.escape(table + key), help_text)
                self.assertIsNotNone(shown, key)
                self.assertEqual(shown.group(1), value, key)
                seen += 1
            self.assertGreater(seen, 4)


class MountHelperTest(unittest.TestCase):
    """mount -t sheaf, with the helper at /sbin of a mount namespace."""

    @classmethod
    def setUpClass(cls):
        if MARK not in os.environ:
            raise unittest.SkipTest("needs root")
        cls.cluster = Cluster()
        cls.addClassCleanup(cls.cluster.clean_up)
        cls.cluster.start_servers()
        cls.put_helper()

    @classmethod
    def put_helper(cls):
        """An overlay over /usr/sbin that adds the helper; seen in this namespace alone. The folder
        itself is nowhere bound below ours, where cleaning up would reach into it."""
        added = os.path.join(cls.cluster.root, "added")
        for folder in [added, added + ".work"]:
            os.mkdir(folder)
        shutil.copy(os.path.join(DEPLOY, "mount.sheaf"), os.path.join(added, "mount.sheaf"))
        # mount(8) hands no PATH on, so the program has to be where it is looked for.
        os.symlink(binary("sheaf-fuse"), os.path.join(added, "sheaf-fuse"))
        run(["mount", "-t", "overlay", "helper", "-o",
             "lowerdir=/usr/sbin,upperdir=%s,workdir=%s.work" % (added, added), "/usr/sbin"])

    def mount(self, *arguments):
        return subprocess.run(["mount", *arguments], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=120)

    def test_mount_and_umount(self):
        log = os.path.join(self.cluster.root, "mount.log")
        done = self.mount("-t", "sheaf", self.cluster.meta_address, self.cluster.mount, "-o",
                          "noatime,_netdev,x-systemd.automount,log_file=" + log)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open("/proc/self/mountinfo") as lines:
            (line,) = [line for line in lines if line.split()[4] == self.cluster.mount]
        self.assertIn("- fuse.sheaf %s " % self.cluster.meta_address, line)
        self.assertIn("noatime", line)
        self.assertIn("allow_other", line)
        with open(self.cluster.path("file"), "w") as file:
            file.write("through mount(8)")
        run(["umount", self.cluster.mount])
        self.assertFalse(is_mounted(self.cluster.mount))
        # Over a line of fstab, as at boot.
        fstab = os.path.join(self.cluster.root, "fstab")
        with open(fstab, "w") as file:
            file.write("%s %s sheaf ro,nofail,_netdev,log_file=%s 0 0\n" % (
                self.cluster.meta_address, self.cluster.mount, log))
        done = self.mount("--fstab", fstab, self.cluster.mount)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(self.cluster.path("file")) as file:
            self.assertEqual(file.read(), "through mount(8)")
        with self.assertRaises(OSError):
            open(self.cluster.path("other"), "w")
        run(["umount", self.cluster.mount])
        # It ends by itself, a little later.
        wait_until(lambda: source(log).count("unmounted") == 2, 30, "the end of both mounts")

    def test_errors_reach_the_person_and_the_exit_code(self):
        done = self.mount("-t", "sheaf", self.cluster.meta_address, self.cluster.mount, "-o",
                          "speed=9")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("speed", done.stderr)
        done = self.mount("-t", "sheaf", "127.0.0.1:%d" % free_port(), self.cluster.mount, "-o",
                          "meta_timeout_ms=500")
        self.assertNotEqual(done.returncode, 0)
        self.assertFalse(is_mounted(self.cluster.mount))
        # -f only asks.
        done = self.mount("-f", "-t", "sheaf", self.cluster.meta_address, self.cluster.mount)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertFalse(is_mounted(self.cluster.mount))

    def test_the_helper_alone_says_what_is_wrong(self):
        helper = os.path.join(DEPLOY, "mount.sheaf")
        for arguments, word in [([], "missing"), (["a:1"], "missing"), (["a:1", "/x", "-q"], "option"),
                                (["a:1", "/x", "-o", "remount,ro"], "anew")]:
            done = subprocess.run(["sh", helper, *arguments], stderr=subprocess.PIPE, text=True)
            self.assertEqual(done.returncode, 1)
            self.assertIn(word, done.stderr.splitlines()[-1])


if __name__ == "__main__":
    if os.geteuid() == 0 and MARK not in os.environ:
        os.environ[MARK] = "1"
        os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv])
    unittest.main()
