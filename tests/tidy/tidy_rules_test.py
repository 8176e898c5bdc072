"""That each rule finds what it is there for."""

import unittest

import tidy_rules


class TidyRulesTest(unittest.TestCase):
    def assertFound(self, path, text, word):
        findings = "\n".join(tidy_rules.check(path, text))
        self.assertIn(word, findings, path + ": " + text)

    def assertClean(self, path, text):
        self.assertEqual(tidy_rules.check(path, text), [])

    def test_include_directions(self):
        for path, included in [
            ("common/a.cc", "meta/kv/kv.h"),
            ("meta/ops/a.cc", "storage/engine/engine.h"),
            ("storage/service/a.cc", "client/sheaf.h"),
            ("storage/service/a.cc", "meta/schema/keys.h"),
            ("client/file/a.cc", "storage/engine/engine.h"),
            ("fuse/a.cc", "client/file/inode_state.h"),
            ("fuse/a.cc", "meta/schema/keys.h"),
            ("fuse/a.cc", "proto/meta.pb.h"),
            ("client/cli/cp.cc", "client/file/attr.h"),
            ("client/file/a.cc", "client/cli/sizes.h"),
            ("meta/ops/a.cc", "tests/support/temp_dir.h"),
        ]:
            self.assertFound(path, '#include "%s"\n' % included, included)
        for path, included in [
            ("common/transport/a.cc", "proto/data.pb.h"),
            ("meta/ops/a.cc", "common/status.h"),
            ("meta/ops/a.cc", "meta/schema/keys.h"),
            ("fuse/a.cc", "client/sheaf.h"),
            ("client/cli/cp.cc", "client/sheaf.h"),
            ("client/cli/cp.cc", "client/cli/sizes.h"),
            ("client/cli/a.cc", "proto/cluster.grpc.pb.h"),
            ("tests/cluster/a.cc", "meta/ops/rename.h"),
        ]:
            self.assertClean(path, '#include "%s"\n' % included)

    def test_headers_keep_libraries_to_themselves(self):
        self.assertFound("meta/ops/a.h", "#pragma once\n#include <rocksdb/db.h>\n", "RocksDB")
        self.assertFound("client/file/a.h", "#pragma once\n#include <grpcpp/grpcpp.h>\n", "gRPC")
        self.assertFound("common/a.h", "#pragma once\n#include <liburing.h>\n", "liburing")
        self.assertClean("storage/disk/a.h", "#pragma once\n#include <liburing.h>\n")
        self.assertClean("meta/ops/a.cc", "#include <rocksdb/db.h>\n")

    def test_banned_calls(self):
        self.assertFound("meta/a.cc", "int x = rand();\n", "<random>")
        self.assertFound("storage/a.cc", "  ::close(fd);\n", "UniqueFd")
        self.assertFound("storage/a.cc", "  if (close(fd) != 0) return;\n", "UniqueFd")
        self.assertFound("tests/a_test.cc", "std::this_thread::sleep_for(1s);\n", "latch")
        self.assertFound("tests/a_test.cc", "usleep(10);\n", "latch")
        self.assertFound("meta/a.cc", "// TO" "DO: later\n", "issue")
        self.assertClean("meta/a.cc", "db->close(x); file.close(); Reclose(fd); Operand(1);\n")
        self.assertClean("meta/a.cc", '// close(fd) is the owner\'s\nlog("close(fd)");\n')
        self.assertClean("client/a.cc", "std::this_thread::sleep_for(wait);\n")

    def test_length_and_guard(self):
        self.assertFound("meta/a.cc", "x\n" * 601, "601 lines")
        self.assertClean("meta/a.cc", "x\n" * 600)
        self.assertFound("meta/a.h", "int x;\n", "#pragma once")


if __name__ == "__main__":
    unittest.main()
