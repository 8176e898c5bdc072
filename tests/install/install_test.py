"""Installs into a folder, moves the folder, and is a user of it: the programs, the headers, the CMake
package, the pkg-config file, and the example job reading a directory of a cluster that runs from there.

    install_test.py BUILD_DIRECTORY EXAMPLE_DIRECTORY
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

from cluster import Cluster, run  # noqa: E402

CMAKE = os.environ.get("CMAKE", "cmake")
CXX = os.environ.get("CXX", "c++")
PROGRAMS = ["sheaf", "sheaf-fuse", "sheaf-meta", "sheaf-storage"]
FILES = 300
# Libraries that are inside, and stay there.
INSIDE = re.compile(r"grpc|protobuf|absl|spdlog|rocksdb|nlohmann|prometheus|isa-l")

build_directory = example_directory = None


def lines_of(command, **options):
    return run(command, **options).splitlines()


class InstallTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = tempfile.mkdtemp(prefix="sheaf-install.")
        cls.addClassCleanup(shutil.rmtree, cls.root, ignore_errors=True)
        first = os.path.join(cls.root, "first")
        run([CMAKE, "--install", build_directory, "--prefix", first])
        # Whatever still looks for the first place fails from here on.
        cls.prefix = os.path.join(cls.root, "opt", "sheaf")
        os.mkdir(os.path.dirname(cls.prefix))
        os.rename(first, cls.prefix)
        os.environ["SHEAF_BIN"] = os.path.join(cls.prefix, "bin")
        cls.library = cls.find("libsheaf.so")
        cls.include = os.path.join(cls.prefix, "include")

    @classmethod
    def find(cls, name):
        for directory, _, names in os.walk(cls.prefix):
            if name in names:
                return os.path.join(directory, name)
        raise AssertionError("%s is not installed" % name)

    def headers(self):
        return [os.path.join(directory, name) for directory, _, names in os.walk(self.include)
                for name in names]

    def source(self, text):
        path = os.path.join(self.root, "user.cc")
        with open(path, "w") as out:
            out.write(text)
        return path

    def test_nothing_names_where_it_was_made(self):
        packages = [self.find("sheaf-config.cmake"), self.find("sheaf-targets.cmake"),
                    self.find("sheaf.pc"), *self.headers()]
        for path in packages:
            with open(path) as file:
                text = file.read()
            for place in [build_directory, os.path.join(self.root, "first"), example_directory]:
                self.assertNotIn(place, text, path)

    def test_every_program_answers_from_here(self):
        for name in PROGRAMS:
            program = os.path.join(self.prefix, "bin", name)
            self.assertIn("0.", run([program, "version" if name == "sheaf" else "--version"]), name)

    def test_the_header_needs_nothing_but_the_standard_library(self):
        user = self.source("#include <sheaf/sheaf.h>\nint main() { return 0; }\n")
        flags = ["-std=c++20", "-I", self.include]
        run([CXX, *flags, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", user])
        read = run([CXX, *flags, "-M", user]).replace("\\\n", " ").split()
        for path in read:
            self.assertFalse(INSIDE.search(path), "the header brings in " + path)
        ours = sorted(os.path.realpath(path) for path in read if path.startswith(self.root)
                      and path != user)
        self.assertEqual(ours, sorted(map(os.path.realpath, self.headers())),
                         "installed headers are those that sheaf.h includes")

    def test_the_headers_define_only_macros_of_our_own_name(self):
        for path in self.headers():
            with open(path) as file:
                text = file.read()
            for name in re.findall(r"^\s*#\s*define\s+(\w+)", text, re.MULTILINE):
                undone = re.search(r"^\s*#\s*undef\s+%s\b" % name, text, re.MULTILINE)
                self.assertTrue(name.startswith("SHEAF_") or undone, "%s: %s" % (path, name))

    def test_the_library_gives_only_its_interface(self):
        symbols = [line.split(" ", 2)[2]
                   for line in lines_of(["nm", "-DC", "--defined-only", self.library])]
        self.assertTrue(any(name.startswith("sheaf::Client::Connect(") for name in symbols))
        for name in symbols:
            self.assertRegex(
                name, r"^(typeinfo( name)? for )?sheaf::(Client|File|Credentials|Status|"
                      r"CodeName|CodeFromNumber|GrpcCode|internal::CheckFailed)\b|^SHEAF$")
        dynamic = run(["readelf", "-d", self.library])
        self.assertRegex(dynamic, r"SONAME.*\[libsheaf\.so\.\d+\.\d+\]")
        self.assertNotRegex(dynamic, r"RPATH|RUNPATH")

    def example(self, build, prefix):
        run([CMAKE, "-S", example_directory, "-B", build, "-DCMAKE_PREFIX_PATH=" + prefix,
             "-DCMAKE_CXX_COMPILER=" + CXX, "-DCMAKE_CXX_FLAGS=-O1 -Wall -Wextra -Werror"])
        run([CMAKE, "--build", build])
        return os.path.join(build, "read-directory")

    def test_a_newer_version_than_this_is_not_found(self):
        source = os.path.join(self.root, "newer")
        os.mkdir(source)
        with open(os.path.join(source, "CMakeLists.txt"), "w") as out:
            out.write("cmake_minimum_required(VERSION 3.25)\nproject(newer LANGUAGES CXX)\n"
                      "find_package(sheaf 99.0 REQUIRED)\n")
        done = subprocess.run([CMAKE, "-S", source, "-B", source + "/build",
                               "-DCMAKE_PREFIX_PATH=" + self.prefix],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(b"99.0", done.stdout)

    def test_pkg_config_tells_how_to_link(self):
        environment = dict(os.environ, PKG_CONFIG_PATH=os.path.dirname(self.find("sheaf.pc")))
        flags = run(["pkg-config", "--cflags", "--libs", "sheaf"], env=environment).split()
        user = self.source("#include <sheaf/sheaf.h>\n"
                           "int main() { return sheaf::Client::Connect({}).ok(); }\n")
        program = os.path.join(self.root, "user")
        run([CXX, "-std=c++20", user, "-o", program, *flags])
        library = os.path.dirname(self.library)
        run([program], env=dict(os.environ, LD_LIBRARY_PATH=library))

    def fill(self, cluster):
        """Files of all sizes about a chunk's and a page's, and what the example is to say of them."""
        os.mkdir(cluster.path("train"))
        os.mkdir(cluster.path("train", "not-a-file"))
        checksum = total = 0
        for number in range(FILES):
            size = [0, 1, 4096, 100_000, (1 << 20) + number][number % 5]
            if number == 7:
                size = (9 << 20) + 1  # more than two chunks
            content = (b"%d " % number * (size // 2 + 1))[:size]
            with open(cluster.path("train", "%05d" % number), "wb") as out:
                out.write(content)
            checksum += zlib.crc32(content)
            total += size
        return {"files": str(FILES), "bytes": str(total), "checksum": str(checksum)}

    def test_the_example_reads_a_directory(self):
        program = self.example(os.path.join(self.root, "example"), self.prefix)
        with Cluster(storage=2) as cluster:
            for server in [cluster.meta, *cluster.storage]:
                runs = os.readlink("/proc/%d/exe" % server.pid())
                self.assertTrue(runs.startswith(os.path.realpath(self.prefix)), runs)
            truth = self.fill(cluster)
            for threads in ["1", "4"]:
                said = dict(line.split() for line in lines_of(
                    [program, cluster.meta_address, "/train", threads]))
                self.assertEqual({key: said[key] for key in truth}, truth)
                self.assertGreater(float(said["files/s"]), 0)
                self.assertGreater(float(said["MiB/s"]), 0)
            self.refusals(program, cluster.meta_address)

    def refusals(self, program, address):
        for code, words, *arguments in [
                (1, "nowhere", address, "/nowhere"),
                (1, "127.0.0.1:1", "127.0.0.1:1", "/train"),
                (2, "usage", address),
                (2, "usage", address, "/train", "0"),
                (2, "usage", address, "/train", "many")]:
            done = subprocess.run([program, *arguments], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True, timeout=120)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertIn(words, done.stderr)


if __name__ == "__main__":
    build_directory, example_directory = map(os.path.abspath, sys.argv[1:3])
    unittest.main(argv=sys.argv[:1], verbosity=2)
