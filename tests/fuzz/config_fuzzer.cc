// The storage server's TOML, by way of the reader that every daemon's configuration goes through.
// What is accepted is within its stated bounds and, written out again, is accepted with the same
// values; what is refused says so as wrong usage, with a reason.

#include <sstream>

#include "common/address.h"
#include "common/config.h"
#include "storage/service/storage_config.h"
#include "tests/fuzz/input.h"

namespace sheaf::storage {
namespace {

std::string Quoted(const std::string& text) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out = "\"";
  for (char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    if (byte >= 0x20 && byte != 0x7f && c != '"' && c != '\\') {
      out += c;
    } else {
      out += std::string("\\u00") + kDigits[byte >> 4] + kDigits[byte & 15];
    }
  }
  return out + "\"";
}

std::string ToToml(const StorageConfig& config) {
  std::ostringstream out;
  out << "meta = " << Quoted(config.meta) << "\ntargets = [";
  for (const std::string& target : config.targets) out << Quoted(target) << ", ";
  out << "]\nlisten = " << Quoted(config.listen) << "\ngrpc = " << Quoted(config.grpc)
      << "\nmetrics = " << Quoted(config.metrics) << "\nunix_path = " << Quoted(config.unix_path)
      << "\nadvertise = " << Quoted(config.advertise)
      << "\nfailure_domain = " << Quoted(config.failure_domain)
      << "\nreactors = " << config.reactors << "\nbuffer_mib = " << config.buffer_mib
      << "\nslab_mib = " << config.slab_mib << "\ncapacity_mib = " << config.capacity_mib
      << "\n[log]\nfile = " << Quoted(config.log.file) << "\nlevel = " << Quoted(config.log.level)
      << "\n";
  return out.str();
}

Result<StorageConfig> Read(const std::string& text) {
  auto file = ConfigFile::Parse(text, "fuzz.toml");
  if (!file.ok()) return file.status();
  return StorageConfig::Read(std::move(*file), "fuzz.toml");
}

void Fuzz(const std::string& text) {
  const auto config = Read(text);
  if (!config.ok()) {
    CHECK(config.status().code() == Code::kUsage && !config.status().message().empty());
    return;
  }
  CHECK(!config->meta.empty() && !config->targets.empty());
  CHECK(Address::Parse(config->listen).ok() && Address::Parse(config->grpc).ok());
  CHECK(config->reactors >= 1 && config->reactors <= 64);
  CHECK(config->buffer_mib >= 16 && config->buffer_mib <= 65536);
  const std::string written = ToToml(*config);
  const auto again = Read(written);
  CHECK(again.ok(), again.status().ToString());
  CHECK(ToToml(*again) == written, "a configuration changes when it is written");
}

}  // namespace
}  // namespace sheaf::storage

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  sheaf::storage::Fuzz(std::string(sheaf::fuzz::Input(data, size).TakeRest()));
  return 0;
}
