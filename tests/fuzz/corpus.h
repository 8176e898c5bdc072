#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

// The fuzzers' first inputs, made by the real encoders: one folder a fuzzer under `root`.

namespace sheaf::fuzz {

inline void WriteInput(const std::filesystem::path& root, const std::string& fuzzer,
                       const std::string& name, std::string_view bytes) {
  std::filesystem::create_directories(root / fuzzer);
  std::ofstream(root / fuzzer / name, std::ios::binary) << bytes;
}

void WriteWireInputs(const std::filesystem::path& root);
void WriteDiskInputs(const std::filesystem::path& root);
void WriteTextInputs(const std::filesystem::path& root);

}  // namespace sheaf::fuzz
