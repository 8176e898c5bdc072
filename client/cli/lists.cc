#include "client/cli/lists.h"

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cerrno>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "client/cli/membership.h"
#include "client/cli/paths.h"
#include "client/cli/sizes.h"
#include "client/cli/status_table.h"
#include "client/cli/table.h"
#include "client/cli/verbs.h"
#include "client/sheaf.h"

namespace sheaf::cli {
namespace {

using Json = nlohmann::ordered_json;
using Rows = std::vector<std::vector<std::string>>;

// A person waits for this one.
constexpr std::chrono::milliseconds kTimeout{10'000};

std::string Text(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

std::string Size(const Json& object, const char* key) {
  return FormatSize(object.at(key).get<uint64_t>());
}

// "3, 4"
std::string Join(const Json& ids, const char* between) {
  std::string text;
  for (const Json& id : ids) text += (text.empty() ? "" : between) + Text(id);
  return text.empty() ? "-" : text;
}

// With what its targets hold.
Json Nodes(const Json& status) {
  Json nodes = Json::array();
  for (Json node : status.at("nodes")) {
    uint64_t used = 0, total = 0;
    Json own = Json::array();
    for (const Json& target : status.at("targets")) {
      if (target.at("node") != node.at("id")) continue;
      own.push_back(target.at("id"));
      used += target.at("used_bytes").get<uint64_t>();
      total += target.at("total_bytes").get<uint64_t>();
    }
    node["targets"] = std::move(own);
    node["used_bytes"] = used;
    node["total_bytes"] = total;
    nodes.push_back(std::move(node));
  }
  return nodes;
}

// With the chains it is a member of.
Json Targets(const Json& status) {
  std::map<uint64_t, Json> chains;
  for (const Json& chain : status.at("chains")) {
    for (const Json& member : chain.at("targets")) {
      Json& own = chains.try_emplace(member.at("id").get<uint64_t>(), Json::array()).first->second;
      own.push_back(chain.at("id"));
    }
  }
  Json targets = Json::array();
  for (Json target : status.at("targets")) {
    const auto own = chains.find(target.at("id").get<uint64_t>());
    target["chains"] = own == chains.end() ? Json::array() : own->second;
    targets.push_back(std::move(target));
  }
  return targets;
}

Rows NodeRows(const Json& nodes) {
  Rows rows = {{"NODE", "STATE", "ADDRESS", "USED", "SIZE", "TARGETS"}};
  for (const Json& node : nodes) {
    rows.push_back({Text(node.at("id")), Text(node.at("state")), Text(node.at("address")),
                    Size(node, "used_bytes"), Size(node, "total_bytes"),
                    Join(node.at("targets"), ", ")});
  }
  return rows;
}

Rows TargetRows(const Json& targets) {
  Rows rows = {{"TARGET", "NODE", "STATE", "USED", "SIZE", "CHAINS"}};
  for (const Json& target : targets) {
    rows.push_back({Text(target.at("id")), Text(target.at("node")), Text(target.at("state")),
                    Size(target, "used_bytes"), Size(target, "total_bytes"),
                    std::to_string(target.at("chains").size())});
  }
  return rows;
}

Rows ChainRows(const Json& chains) {
  Rows rows = {{"CHAIN", "VERSION", "TARGETS"}};
  for (const Json& chain : chains) {
    rows.push_back({Text(chain.at("id")), Text(chain.at("version")), DescribeMembers(chain)});
  }
  return rows;
}

std::string Format(ListOf what, const Json& status, bool json) {
  switch (what) {
    case ListOf::kNodes: {
      const Json nodes = Nodes(status);
      return json ? Json{{"nodes", nodes}}.dump() + "\n" : Layout(NodeRows(nodes));
    }
    case ListOf::kTargets: {
      const Json targets = Targets(status);
      return json ? Json{{"targets", targets}}.dump() + "\n" : Layout(TargetRows(targets));
    }
    default: {
      const Json& chains = status.at("chains");
      return json ? Json{{"chains", chains}}.dump() + "\n" : Layout(ChainRows(chains));
    }
  }
}

}  // namespace

Result<std::string> FormatList(ListOf what, const std::string& status, bool json) {
  // The library throws where a value has another type than the form says.
  try {
    return Format(what, Json::parse(status), json);
  } catch (const Json::exception& error) {
    return Status(Code::kProtocol, std::string("status: unexpected form: ") + error.what());
  }
}

Status PrintList(ListOf what, const ListOptions& options) {
  ASSIGN_OR_RETURN(const std::string meta, FindMeta(options.meta, {}));
  ClientOptions client_options;
  client_options.meta_address = meta;
  client_options.meta_timeout = kTimeout;
  ASSIGN_OR_RETURN(auto client, Client::Connect(client_options));
  ASSIGN_OR_RETURN(const std::string status, client->StatusJson());
  ASSIGN_OR_RETURN(const std::string text, FormatList(what, status, options.json));
  if (std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0) return Status::Ok();
  return Status::FromErrno(errno, "write to standard output");
}

CLI::App* AddList(CLI::App& parent, const std::string& help,
                  const std::shared_ptr<ListOptions>& options) {
  CLI::App* list = parent.add_subcommand("list", help);
  list->add_option("--meta", options->meta,
                   "HOST:PORT of the metadata service (default: the mount one is in, SHEAF_META, "
                   "else ~/.sheaf's)");
  list->add_flag("--json", options->json, "One JSON object");
  return list;
}

Verb AddNode(CLI::App& app) {
  auto options = std::make_shared<ListOptions>();
  CLI::App* node = app.add_subcommand("node", "Storage servers.");
  node->require_subcommand(1);
  AddList(*node, "Show them: state, address, space, targets.", options);
  auto change = std::make_shared<MembershipOptions>();
  CLI::App* drain = AddDrain(*node, change);
  return {node, [options, change, drain] {
            return drain->parsed() ? DrainNode(*change) : PrintList(ListOf::kNodes, *options);
          }};
}

Verb AddTarget(CLI::App& app) {
  auto options = std::make_shared<ListOptions>();
  CLI::App* target = app.add_subcommand("target", "Targets: the disks of storage servers.");
  target->require_subcommand(1);
  AddList(*target, "Show them: node, state, space, number of chains.", options);
  auto change = std::make_shared<MembershipOptions>();
  CLI::App* replace = AddReplace(*target, change);
  return {target, [options, change, replace] {
            return replace->parsed() ? ReplaceTarget(*change)
                                     : PrintList(ListOf::kTargets, *options);
          }};
}

}  // namespace sheaf::cli
