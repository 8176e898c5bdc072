#include "fuse/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/temp_dir.h"

namespace sheaf::fuse {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

MountOptions Parsed(const std::vector<std::string>& arguments) {
  auto line = ParseCommandLine(arguments);
  EXPECT_TRUE(line.ok()) << line.status().ToString();
  return line.ok() ? line->options : MountOptions();
}

std::string ErrorOf(const std::vector<std::string>& arguments) {
  auto line = ParseCommandLine(arguments);
  EXPECT_FALSE(line.ok());
  if (line.ok()) return "";
  EXPECT_EQ(line.status().code(), Code::kUsage);
  return line.status().message();
}

TEST(OptionsTest, TakesTheDefaults) {
  const MountOptions options = Parsed({"--meta", "127.0.0.1:7700", "/mnt"});
  EXPECT_EQ(options.meta_address, "127.0.0.1:7700");
  EXPECT_EQ(options.directory, "/mnt");
  EXPECT_FALSE(options.foreground);
  EXPECT_FALSE(options.allow_other);
  EXPECT_TRUE(options.default_permissions);
  EXPECT_EQ(options.attr_timeout.count(), 1.0);
  EXPECT_EQ(options.negative_timeout.count(), 0.0);
}

TEST(OptionsTest, TakesEveryOption) {
  const MountOptions options =
      Parsed({"--meta", "host:1", "-o", "allow_other,ro,attr_timeout=0.5,entry_timeout=2", "-o",
              "negative_timeout=3,max_threads=8,meta_timeout_ms=1500,data_timeout_ms=2500,noatime",
              "-o", "write_behind_mib=7,write_behind_ms=70",
              "--foreground", "--log-file", "/tmp/log", "--log-level", "debug", "--metrics",
              "127.0.0.1:9", "/mnt"});
  EXPECT_TRUE(options.allow_other);
  EXPECT_TRUE(options.read_only);
  EXPECT_EQ(options.attr_timeout.count(), 0.5);
  EXPECT_EQ(options.entry_timeout.count(), 2.0);
  EXPECT_EQ(options.negative_timeout.count(), 3.0);
  EXPECT_EQ(options.max_threads, 8u);
  EXPECT_EQ(options.meta_timeout.count(), 1500);
  EXPECT_EQ(options.data_timeout.count(), 2500);
  EXPECT_EQ(options.write_behind_mib, 7u);
  EXPECT_EQ(options.write_behind.count(), 70);
  EXPECT_TRUE(options.foreground);
  EXPECT_EQ(options.log.file, "/tmp/log");
  EXPECT_EQ(options.log.level, "debug");
  EXPECT_EQ(options.metrics_address, "127.0.0.1:9");
}

TEST(OptionsTest, NamesAnUnknownOption) {
  EXPECT_THAT(ErrorOf({"--meta", "h:1", "-o", "allow_othr", "/mnt"}), HasSubstr("allow_othr"));
  EXPECT_THAT(ErrorOf({"--meta", "h:1", "-o", "speed=9", "/mnt"}), HasSubstr("speed"));
  EXPECT_THAT(ErrorOf({"--meta", "h:1", "--fast", "/mnt"}), HasSubstr("--fast"));
}

TEST(OptionsTest, NamesABadValueAndWhatIsAccepted) {
  const std::string error = ErrorOf({"--meta", "h:1", "-o", "max_threads=0", "/mnt"});
  EXPECT_THAT(error, HasSubstr("max_threads"));
  EXPECT_THAT(error, HasSubstr("'0'"));
  EXPECT_THAT(error, HasSubstr("1 to 4096"));
  for (const char* bad : {"attr_timeout=-1", "attr_timeout=x", "attr_timeout=", "attr_timeout=nan",
                          "attr_timeout=1x", "meta_timeout_ms=0", "data_timeout_ms=1e3",
                          "write_behind_mib=65537", "write_behind_ms=0",
                          "max_threads=99999999999", "read_ahead_kib=-1"}) {
    EXPECT_THAT(ErrorOf({"--meta", "h:1", "-o", bad, "/mnt"}), HasSubstr("bad value")) << bad;
  }
  EXPECT_THAT(ErrorOf({"--meta", "h:1", "-o", "attr_timeout", "/mnt"}), HasSubstr("needs a value"));
}

TEST(OptionsTest, NamesWhatIsMissing) {
  EXPECT_THAT(ErrorOf({"/mnt"}), HasSubstr("--meta"));
  EXPECT_THAT(ErrorOf({"--meta", "h:1"}), HasSubstr("DIR"));
  EXPECT_THAT(ErrorOf({"--meta", "nonsense", "/mnt"}), HasSubstr("nonsense"));
}

TEST(OptionsTest, ALaterOptionWins) {
  const MountOptions options = Parsed({"--meta", "h:1", "-o", "ro,rw,,attr_timeout=1", "-o",
                                       "attr_timeout=7,default_permissions", "/mnt"});
  EXPECT_FALSE(options.read_only);
  EXPECT_EQ(options.attr_timeout.count(), 7.0);
}

TEST(OptionsTest, FstabCanSayAllOfIt) {
  const MountOptions options = Parsed(
      {"--meta", "h:1", "-o",
       "_netdev,nofail,x-systemd.automount,x-systemd.mount-timeout=9,X-mount.mkdir,comment=x,"
       "log_file=/tmp/log,log_level=warn,metrics=127.0.0.1:9",
       "/mnt"});
  EXPECT_EQ(options.log.file, "/tmp/log");
  EXPECT_EQ(options.log.level, "warn");
  EXPECT_EQ(options.metrics_address, "127.0.0.1:9");
  EXPECT_TRUE(options.kernel_options.empty());
  EXPECT_EQ(Parsed({"--meta", "h:1", "-o", "config=/x.toml", "/mnt"}).config_file, "/x.toml");
  EXPECT_THAT(ErrorOf({"--meta", "h:1", "-o", "log_file", "/mnt"}), HasSubstr("needs a value"));
}

TEST(OptionsTest, AConfigurationFileSaysLogAndMetrics) {
  sheaf::testing::TempDir dir;
  MountOptions options = Parsed({"--meta", "h:1", "--config", dir / "mount.toml", "/mnt"});
  EXPECT_THAT(ReadConfigFile(&options).message(), HasSubstr("mount.toml"));
  std::ofstream(dir / "mount.toml") << "metrics = \"127.0.0.1:9\"\n[log]\nfile = \"/tmp/log\"\n"
                                       "level = \"warn\"\nmax_file_mib = 2\nmax_files = 3\n";
  ASSERT_TRUE(ReadConfigFile(&options).ok());
  EXPECT_EQ(options.metrics_address, "127.0.0.1:9");
  EXPECT_EQ(options.log.file, "/tmp/log");
  EXPECT_EQ(options.log.level, "warn");
  EXPECT_EQ(options.log.max_file_bytes, 2u << 20);
  EXPECT_EQ(options.log.max_files, 3u);
}

TEST(OptionsTest, AConfigurationFileAndTheSameByOptionsIsOneTooMany) {
  sheaf::testing::TempDir dir;
  std::ofstream(dir / "mount.toml") << "colour = \"blue\"\n";
  for (const char* other : {"log_file=/x", "log_level=warn", "metrics=h:1"}) {
    MountOptions options =
        Parsed({"--meta", "h:1", "--config", dir / "mount.toml", "-o", other, "/mnt"});
    const Status status = ReadConfigFile(&options);
    EXPECT_EQ(status.code(), Code::kUsage);
    EXPECT_THAT(status.message(), HasSubstr("log_level")) << other;
  }
  MountOptions options = Parsed({"--meta", "h:1", "--config", dir / "mount.toml", "/mnt"});
  EXPECT_THAT(ReadConfigFile(&options).message(), HasSubstr("colour"));
}

TEST(OptionsTest, ShowsHelpAndVersionWithoutTheRest) {
  auto help = ParseCommandLine({"--help"});
  ASSERT_TRUE(help.ok());
  EXPECT_EQ(help->action, CommandLine::Action::kHelp);
  EXPECT_THAT(help->text, HasSubstr("allow_other"));
  EXPECT_THAT(help->text, HasSubstr("--foreground"));
  auto version = ParseCommandLine({"--version"});
  ASSERT_TRUE(version.ok());
  EXPECT_EQ(version->action, CommandLine::Action::kVersion);
  EXPECT_THAT(version->text, HasSubstr("libfuse 3."));
}

TEST(KernelOptionsTest, NamesTheSourceAndType) {
  MountOptions options = Parsed({"--meta", "host:1", "-o", "allow_other,nodev", "/mnt"});
  const std::string list = KernelOptions(options);
  EXPECT_THAT(list, HasSubstr("fsname=host:1"));
  EXPECT_THAT(list, HasSubstr("subtype=sheaf"));
  EXPECT_THAT(list, HasSubstr("default_permissions"));
  EXPECT_THAT(list, HasSubstr("allow_other"));
  EXPECT_THAT(list, HasSubstr("nodev"));
  options.default_permissions = false;
  options.allow_other = false;
  EXPECT_THAT(KernelOptions(options), Not(HasSubstr("default_permissions")));
  EXPECT_THAT(KernelOptions(options), Not(HasSubstr("allow_other")));
}

}  // namespace
}  // namespace sheaf::fuse
