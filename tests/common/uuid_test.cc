#include "common/uuid.h"

#include <gtest/gtest.h>

#include "common/version.h"

namespace sheaf {
namespace {

TEST(UuidTest, NewOnesAreWellFormedAndDiffer) {
  const std::string a = NewUuid(), b = NewUuid();
  EXPECT_TRUE(IsUuid(a)) << a;
  EXPECT_EQ(a[14], '4');
  EXPECT_NE(a, b);
}

TEST(UuidTest, RefusesOtherForms) {
  EXPECT_FALSE(IsUuid(""));
  EXPECT_FALSE(IsUuid("1b4e28ba2fa111d2883f0016d3cca427"));
  EXPECT_FALSE(IsUuid("1B4E28BA-2FA1-41D2-883F-0016D3CCA427"));
  EXPECT_FALSE(IsUuid("1b4e28ba-2fa1-41d2-883f-0016d3cca42g"));
}

TEST(VersionTest, LineNamesTheProgram) {
  EXPECT_EQ(VersionLine("sheaf-x").find("sheaf-x " + Version()), 0u);
}

}  // namespace
}  // namespace sheaf
