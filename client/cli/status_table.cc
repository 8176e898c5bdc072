#include "client/cli/status_table.h"

#include <nlohmann/json.hpp>
#include <vector>

#include "client/cli/sizes.h"
#include "client/cli/table.h"

namespace sheaf::cli {
namespace {

using json = nlohmann::ordered_json;

std::string Text(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return "-";
  return found->is_string() ? found->get<std::string>() : found->dump();
}

std::string Size(const json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? "-" : FormatSize(found->get<uint64_t>());
}

std::string Resync(const json& status) {
  const auto resync = status.find("resync");
  if (resync == status.end()) return "-";
  const uint64_t left = resync->at("chunks_left").get<uint64_t>();
  return left == 0 ? "nothing left"
                   : std::to_string(left) + " chunks left, " + Size(*resync, "bytes_per_s") + "/s";
}

std::string Summary(const json& status) {
  return Layout({{"health", Text(status, "health")},
                 {"files", Text(status, "files")},
                 {"used", Size(status, "used_bytes") + " in files, " +
                              Size(status, "raw_used_bytes") + " of " +
                              Size(status, "total_bytes") + " on disks"},
                 {"resync", Resync(status)},
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
    rows.push_back({Text(chain, "id"), Text(chain, "version"), DescribeMembers(chain)});
  }
  return Layout(rows);
}

}  // namespace

std::string DescribeMembers(const json& chain) {
  std::string members, last_serving;
  for (const json& member : chain.at("targets")) {
    members += (members.empty() ? "" : ", ") + Text(member, "id") + " " + Text(member, "state");
    if (Text(member, "state") != "lastserving") continue;
    last_serving += (last_serving.empty() ? "" : " or ") + Text(member, "id");
  }
  if (chain.contains("lost")) {
    std::string disks;
    for (const json& disk : chain.at("lost")) {
      disks += (disks.empty() ? " since disk " : ", ") + Text(disk, "uuid") + " of target " +
               Text(disk, "target");
    }
    return members + "; no replica holds its data" + disks + (disks.empty() ? "" : " is gone") +
           " (see sheaf chain reset --help)";
  }
  if (!chain.contains("waiting_for")) return members;
  const std::string awaited = last_serving.empty() ? Text(chain, "waiting_for") : last_serving;
  return members + "; waiting for " + awaited;
}

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
