#include "client/cli/status_table.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "client/cli/sizes.h"

namespace sheaf::cli {
namespace {

using nlohmann::json;

// Columns as wide as their widest cell, two spaces between.
std::string Layout(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      text += row[i];
      if (i + 1 < row.size()) text += std::string(widths[i] - row[i].size() + 2, ' ');
    }
    text += "\n";
  }
  return text;
}

std::string Text(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return "-";
  return found->is_string() ? found->get<std::string>() : found->dump();
}

std::string Size(const json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? "-" : FormatSize(found->get<uint64_t>());
}

std::string Summary(const json& status) {
  return Layout({{"health", Text(status, "health")},
                 {"files", Text(status, "files")},
                 {"used", Size(status, "used_bytes") + " in files, " +
                              Size(status, "raw_used_bytes") + " of " +
                              Size(status, "total_bytes") + " on disks"},
                 {"removals", Text(status, "removal_backlog") + " waiting"}});
}

std::string Nodes(const json& nodes) {
  std::vector<std::vector<std::string>> rows = {{"NODE", "STATE", "ADDRESS", "PID"}};
  for (const json& node : nodes) {
    rows.push_back({Text(node, "id"), Text(node, "state"), Text(node, "address"), Text(node, "pid")});
  }
  return Layout(rows);
}

std::string Targets(const json& targets) {
  std::vector<std::vector<std::string>> rows = {{"TARGET", "NODE", "STATE", "USED", "SIZE"}};
  for (const json& target : targets) {
    rows.push_back({Text(target, "id"), Text(target, "node"), Text(target, "state"),
                    Size(target, "used_bytes"), Size(target, "total_bytes")});
  }
  return Layout(rows);
}

std::string Chains(const json& chains) {
  std::vector<std::vector<std::string>> rows = {{"CHAIN", "VERSION", "TARGETS"}};
  for (const json& chain : chains) {
    std::string members;
    for (const json& member : chain.at("targets")) {
      members += (members.empty() ? "" : ", ") + Text(member, "id") + " " + Text(member, "state");
    }
    if (chain.contains("waiting_for")) members += "; waiting for " + Text(chain, "waiting_for");
    rows.push_back({Text(chain, "id"), Text(chain, "version"), members});
  }
  return Layout(rows);
}

}  // namespace

Result<std::string> StatusTable(const std::string& text) {
  // The library throws where a value has another type than the form says.
  try {
    const json status = json::parse(text);
    return Summary(status) + "\n" + Nodes(status.at("nodes")) + "\n" +
           Targets(status.at("targets")) + "\n" + Chains(status.at("chains"));
  } catch (const json::exception& error) {
    return Status(Code::kProtocol, std::string("status: unexpected form: ") + error.what());
  }
}

}  // namespace sheaf::cli
