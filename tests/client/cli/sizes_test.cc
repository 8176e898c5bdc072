#include "client/cli/sizes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sheaf::cli {
namespace {

uint64_t Parsed(const std::string& text) {
  auto size = ParseSize("--size", text, 0, ~uint64_t{0});
  return size.ok() ? *size : 12345;
}

TEST(SizesTest, ReadsUnits) {
  EXPECT_EQ(Parsed("0"), 0u);
  EXPECT_EQ(Parsed("4096"), 4096u);
  EXPECT_EQ(Parsed("64K"), 65536u);
  EXPECT_EQ(Parsed("64k"), 65536u);
  EXPECT_EQ(Parsed("1M"), 1u << 20);
  EXPECT_EQ(Parsed("1MiB"), 1u << 20);
  EXPECT_EQ(Parsed("1MB"), 1u << 20);
  EXPECT_EQ(Parsed("1.5G"), uint64_t{3} << 29);
  EXPECT_EQ(Parsed("2T"), uint64_t{2} << 40);
  EXPECT_EQ(Parsed("7B"), 7u);
}

TEST(SizesTest, RefusesOtherTextsAndNamesOptionValueAndRange) {
  for (const char* text : {"", "x", "-1", "1 M", "1Q", "1Mx", "1..5G", "inf", "0x10", "1e3", "K"}) {
    const Status status = ParseSize("--size", text, 512, 1 << 20).status();
    EXPECT_EQ(status.code(), Code::kUsage) << text;
    EXPECT_THAT(status.message(), ::testing::HasSubstr(std::string("--size ") + text));
    EXPECT_THAT(status.message(), ::testing::HasSubstr("512 B to 1 MiB"));
  }
  EXPECT_FALSE(ParseSize("--size", "511", 512, 1 << 20).ok());
  EXPECT_FALSE(ParseSize("--size", "2M", 512, 1 << 20).ok());
  EXPECT_TRUE(ParseSize("--size", "1M", 512, 1 << 20).ok());
}

TEST(SizesTest, WritesUnits) {
  EXPECT_EQ(FormatSize(0), "0 B");
  EXPECT_EQ(FormatSize(1023), "1023 B");
  EXPECT_EQ(FormatSize(1536), "1.5 KiB");
  EXPECT_EQ(FormatSize(uint64_t{12} << 30), "12 GiB");
  EXPECT_EQ(FormatSize(~uint64_t{0}), "16 EiB");
}

}  // namespace
}  // namespace sheaf::cli
