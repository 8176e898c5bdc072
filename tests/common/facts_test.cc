#include "common/facts.h"

#include <gtest/gtest.h>

namespace sheaf {
namespace {

TEST(FactsTest, OneLineForAPersonAndOneForAProgram) {
  Facts facts;
  facts.Add("name", "a \"b\"").Add("size", uint64_t{1} << 63).Add("time", -5).Add("fine", true);
  EXPECT_EQ(facts.Text(), "name=\"a \\\"b\\\"\" size=9223372036854775808 time=-5 fine=true");
  EXPECT_EQ(facts.Json(),
            "{\"name\": \"a \\\"b\\\"\", \"size\": 9223372036854775808, \"time\": -5, "
            "\"fine\": true}");
}

TEST(FactsTest, BytesThatAreNotTextAreShown) {
  Facts facts;
  facts.Add("name", std::string_view("\x01\xff\n\\", 4));
  EXPECT_EQ(facts.Text(), "name=\"\\x01\\xff\\x0a\\\\\"");
  EXPECT_EQ(facts.Json(), "{\"name\": \"\\u0001\\u00ff\\u000a\\\\\"}");
  EXPECT_EQ(Facts().Json(), "{}");
  EXPECT_EQ(Hex(std::string_view("\x00\xa7", 2)), "00a7");
}

}  // namespace
}  // namespace sheaf
