#include "storage/service/storage_config.h"

#include <gtest/gtest.h>

namespace sheaf::storage {
namespace {

constexpr const char* kGood = "meta = \"h:7700\"\ntargets = [\"/d/0\", \"/d/1\"]\n";

Result<StorageConfig> Parse(const std::string& text) {
  ASSIGN_OR_RETURN(ConfigFile file, ConfigFile::Parse(text, "test.toml"));
  return StorageConfig::Read(std::move(file), "test.toml");
}

TEST(StorageConfigTest, HasDefaultsForAllButManagerAndTargets) {
  auto config = Parse(kGood);
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  EXPECT_EQ(config->listen, "127.0.0.1:7710");
  EXPECT_EQ(config->reactors, 1u);
  EXPECT_EQ(config->buffer_mib, 128u);
  EXPECT_EQ(Parse("meta = \"h:1\"\n").status().code(), Code::kUsage);
  EXPECT_EQ(Parse("targets = [\"/d\"]\n").status().code(), Code::kUsage);
}

TEST(StorageConfigTest, BadValuesNameTheirKey) {
  for (const auto& [line, key] :
       std::vector<std::pair<std::string, std::string>>{{"listen = \"nowhere\"", "listen"},
                                                        {"grpc = \"unix:/x\"", "grpc"},
                                                        {"reactors = 0", "reactors"},
                                                        {"buffer_mib = 1", "buffer_mib"},
                                                        {"slab_mib = 100000000", "slab_mib"},
                                                        {"listen = \"0.0.0.0:7710\"", "advertise"},
                                                        {"reactors = 32", "buffer_mib"},
                                                        {"colour = \"red\"", "colour"}}) {
    const Status status = Parse(kGood + line + "\n").status();
    EXPECT_EQ(status.code(), Code::kUsage) << line;
    EXPECT_NE(status.message().find(key), std::string::npos) << status.message();
  }
  EXPECT_EQ(Parse("meta = \"h:1\"\ntargets = [\"/d\", \"/d\"]\n").status().code(), Code::kUsage);
}

TEST(StorageConfigTest, EveryAddressIsFineWithAnAdvertisedHost) {
  EXPECT_TRUE(Parse(std::string(kGood) + "listen = \"0.0.0.0:7710\"\nadvertise = \"box\"\n").ok());
}

}  // namespace
}  // namespace sheaf::storage
