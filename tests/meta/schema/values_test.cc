#include "meta/schema/values.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <string>

namespace sheaf::meta {
namespace {

std::string Hex(std::string_view bytes) {
  std::string hex;
  for (const char c : bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    hex += kDigits[static_cast<uint8_t>(c) >> 4];
    hex += kDigits[static_cast<uint8_t>(c) & 15];
  }
  return hex;
}

Inode Common(uint32_t mode) {
  Inode inode;
  inode.id = InodeId(9);
  inode.mode = mode;
  inode.nlink = 2;
  inode.uid = 1000;
  inode.gid = 100;
  inode.project_id = 5;
  inode.version = 300;
  inode.atime_ns = 1;
  inode.mtime_ns = -1;
  inode.ctime_ns = 0x0102030405060708;
  inode.btime_ns = 4;
  return inode;
}

Inode File() {
  Inode inode = Common(S_IFREG | 0644);
  inode.size = 4096;
  inode.data_id = DataId(7);
  inode.size_epoch = SizeEpoch(2);
  inode.layout = {.chunk_size_log2 = 22, .stripe_width = 0, .table_version = 1, .seed = 0xabcd};
  inode.writers = 1;
  inode.append_end = 5000;
  return inode;
}

Inode Directory() {
  Inode inode = Common(S_IFDIR | 0755);
  inode.parent = kRootInode;
  inode.next_cookie = 12;
  inode.entries = 3;
  inode.chunk_size_log2 = 22;
  inode.run_next = 20;
  inode.run_end = 32;
  return inode;
}

Inode Symlink() {
  Inode inode = Common(S_IFLNK | 0777);
  inode.target = "to";
  return inode;
}

Inode Device() {
  Inode inode = Common(S_IFCHR | 0600);
  inode.rdev = 0x103;
  return inode;
}

// Version, mode, nlink, uid, gid, project, flags, version; four times of eight bytes.
constexpr char kCommonTail[] =
    "02e807640500ac02"
    "0100000000000000ffffffffffffffff08070605040302010400000000000000";

// The stored format: a change here is a new value version.
TEST(ValuesTest, GoldenInodes) {
  const std::string tail = kCommonTail;
  EXPECT_EQ(Hex(EncodeInode(File())), "02a48302" + tail +
                                          "8020070216"
                                          "0001"
                                          "cdab000000000000"
                                          "01"
                                          "8827");
  EXPECT_EQ(Hex(EncodeInode(Directory())), "02ed8301" + tail + "010c03161420");
  EXPECT_EQ(Hex(EncodeInode(Symlink())), "02ffc302" + tail + "02746f");
  EXPECT_EQ(Hex(EncodeInode(Device())), "028043" + tail + "8302");
}

// What was stored before appends were reserved.
TEST(ValuesTest, InodesOfVersionOneAreRead) {
  Inode file = File();
  file.append_end = 0;
  std::string stored = EncodeInode(file);
  ASSERT_EQ(stored.back(), 0) << "the new field";
  stored.pop_back();
  stored[0] = 1;
  const auto decoded = DecodeInode(file.id, stored);
  ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
  EXPECT_EQ(*decoded, file);
  std::string directory = EncodeInode(Directory());
  directory[0] = 1;
  EXPECT_EQ(*DecodeInode(InodeId(9), directory), Directory());
}

TEST(ValuesTest, GoldenRows) {
  const Layout layout = {.chunk_size_log2 = 22, .stripe_width = 0, .table_version = 1, .seed = 1};
  const std::string layout_hex =
      "160001"
      "0100000000000000";
  EXPECT_EQ(Hex(EncodeDentry({InodeId(9), S_IFREG, 3})),
            "0109"
            "808002"
            "03");
  EXPECT_EQ(Hex(EncodeDirectoryEntry({InodeId(9), S_IFDIR, "ab"})),
            "0109"
            "808001"
            "026162");
  EXPECT_EQ(Hex(EncodeSession({"x", 5, 6, true})),
            "010178"
            "0500000000000000"
            "06"
            "01");
  EXPECT_EQ(Hex(EncodeWriteOpen({2})), "0102");
  EXPECT_EQ(Hex(EncodeResult({4, Code::kNotEmpty, "no"})), "01040f026e6f");
  EXPECT_EQ(Hex(EncodeRemoval({Removal::Kind::kData, InodeId(9), DataId(7), layout, 300})),
            "01020907" + layout_hex + "ac02");
  EXPECT_EQ(Hex(EncodeTruncateIntent({SizeEpoch(2), DataId(7), layout, 1, 300})),
            "010207" + layout_hex + "01ac02");
  EXPECT_EQ(Hex(EncodeUsage({3, 300})), "0103ac02");
  EXPECT_EQ(Hex(EncodeExecutorState({1, 128})), "01018001");
  EXPECT_EQ(Hex(EncodeCounter(300)), "01ac02");
}

TEST(ValuesTest, ValuesAreReadBack) {
  for (const Inode& inode : {File(), Directory(), Symlink(), Device()}) {
    const auto decoded = DecodeInode(inode.id, EncodeInode(inode));
    ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
    EXPECT_EQ(*decoded, inode);
  }
  const Session session = {"host prog 5", 77, 3, true};
  EXPECT_EQ(*DecodeSession(EncodeSession(session)), session);
  const StoredResult result = {9, Code::kOk, std::string(1000, 'x')};
  EXPECT_EQ(*DecodeResult(EncodeResult(result)), result);
  const Removal removal = {Removal::Kind::kInode, InodeId(4), DataId(), {}, 0};
  EXPECT_EQ(*DecodeRemoval(EncodeRemoval(removal)), removal);
  EXPECT_EQ(*DecodeCounter(EncodeCounter(UINT64_MAX)), UINT64_MAX);
}

TEST(ValuesTest, EveryTruncationAndExtensionIsCorrupt) {
  const std::string whole = EncodeInode(File());
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_EQ(DecodeInode(InodeId(1), whole.substr(0, length)).status().code(), Code::kCorrupt)
        << length;
  }
  EXPECT_EQ(DecodeInode(InodeId(1), whole + "x").status().code(), Code::kCorrupt);
}

TEST(ValuesTest, ANewerVersionIsNamed) {
  std::string newer = EncodeCounter(5);
  newer[0] = 9;
  const Status status = DecodeCounter(newer).status();
  EXPECT_EQ(status.code(), Code::kInvalid);
  EXPECT_NE(status.message().find("version 9"), std::string::npos);
}

TEST(ValuesTest, FieldsOutOfRangeAreCorrupt) {
  // A text longer than what follows it, and a varint of more than 64 bits.
  EXPECT_EQ(DecodeDirectoryEntry(std::string("\x01\x09\x80\x80\x02\x7fzz", 8)).status().code(),
            Code::kCorrupt);
  EXPECT_EQ(DecodeCounter("\x01" + std::string(9, '\xff') + "\x02").status().code(),
            Code::kCorrupt);
  EXPECT_EQ(DecodeCounter(std::string("\0\x05", 2)).status().code(), Code::kCorrupt);
  std::string no_type = EncodeDentry({InodeId(9), S_IFREG, 3});
  no_type[2] = no_type[3] = '\x80', no_type[4] = '\0';
  EXPECT_EQ(DecodeDentry(no_type).status().code(), Code::kCorrupt);
}

TEST(ValuesTest, RandomDamageNeverDecodesBeyondItsInput) {
  const char* given = std::getenv("SHEAF_SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : 4711;
  std::mt19937_64 random(seed);
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = EncodeInode(round % 2 == 0 ? File() : Symlink());
    for (int flips = 1 + static_cast<int>(random() % 4); flips > 0; --flips) {
      bytes[random() % bytes.size()] ^= static_cast<char>(1 << random() % 8);
    }
    const auto decoded = DecodeInode(InodeId(9), bytes);
    if (!decoded.ok()) continue;
    EXPECT_LE(decoded->target.size(), bytes.size());
    EXPECT_EQ(*DecodeInode(InodeId(9), EncodeInode(*decoded)), *decoded) << "seed " << seed;
  }
}

}  // namespace
}  // namespace sheaf::meta
