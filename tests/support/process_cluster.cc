#include "tests/support/process_cluster.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "common/address.h"
#include "common/rpc.h"
#include "proto/cluster.grpc.pb.h"

namespace sheaf::testing {
namespace {

constexpr std::chrono::seconds kStartTimeout{60};

// Free just now; the next process to ask could take it first, which shows as a failed start.
Result<std::string> FreeAddress() {
  const Address any{.host = "127.0.0.1"};
  ASSIGN_OR_RETURN(const UniqueFd fd, Listen(any, 1));
  ASSIGN_OR_RETURN(const Address bound, BoundAddress(fd.get(), any));
  return bound.ToString();
}

std::string ProgramDirectory() { return std::filesystem::read_symlink("/proc/self/exe").parent_path(); }

bool AllServe(const proto::ClusterMap& map, int servers) {
  const auto serves = [](const proto::Chain& chain) {
    return std::all_of(chain.members().begin(), chain.members().end(),
                       [](const auto& member) { return member.state() == proto::SERVING; });
  };
  return map.nodes_size() == servers && map.chains_size() > 0 &&
         std::all_of(map.chains().begin(), map.chains().end(), serves);
}

// Follows the cluster map until `done` holds for it.
template <typename Done>
Status WatchUntil(proto::Cluster::Stub& stub, const std::string& what, Done done) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kStartTimeout);
  const auto stream = stub.WatchClusterMap(&context, proto::GetClusterMapRequest());
  proto::ClusterMap map;
  while (stream->Read(&map)) {
    if (!done(map)) continue;
    context.TryCancel();
    return Status::Ok();
  }
  return Status(Code::kDeadline, "start cluster: " + what + " did not come about: " +
                                     stream->Finish().error_message());
}

}  // namespace

Result<std::unique_ptr<ProcessCluster>> ProcessCluster::Start(const Options& options) {
  std::unique_ptr<ProcessCluster> cluster(new ProcessCluster(options));
  RETURN_IF_ERROR(cluster->PrepareMeta());
  RETURN_IF_ERROR(cluster->StartMeta());
  for (int i = 0; i < options.servers; ++i) {
    RETURN_IF_ERROR(cluster->PrepareServer(i));
    RETURN_IF_ERROR(cluster->StartServer(i));
  }
  if (Status made = cluster->MakeChains(); !made.ok()) {
    std::string logs = Tail(cluster->meta_);
    for (const Daemon& server : cluster->servers_) logs += Tail(server);
    return made.With(logs);
  }
  return cluster;
}

ProcessCluster::~ProcessCluster() {
  for (Daemon& server : servers_) Kill(server);
  Kill(meta_);
}

Status ProcessCluster::PrepareMeta() {
  meta_ = {.program = ProgramDirectory() + "/sheaf-meta",
           .config = dir_ / "meta.toml",
           .log = dir_ / "meta.log"};
  ASSIGN_OR_RETURN(meta_.listen, FreeAddress());
  ASSIGN_OR_RETURN(const std::string framed, FreeAddress());
  std::ofstream(meta_.config) << "data_dir = \"" << dir_ / "meta" << "\"\n"
                              << "listen = \"" << meta_.listen << "\"\n"
                              << "framed = \"" << framed << "\"\n"
                              << "metrics = \"127.0.0.1:0\"\n"
                              << "session_renew_ms = " << options_.session_renew.count() << "\n"
                              << "session_lease_ms = " << options_.session_lease.count() << "\n";
  return Status::Ok();
}

Status ProcessCluster::PrepareServer(int number) {
  const std::string name = "storage" + std::to_string(number);
  Daemon server{.program = ProgramDirectory() + "/sheaf-storage",
                .config = dir_ / (name + ".toml"),
                .log = dir_ / (name + ".log")};
  ASSIGN_OR_RETURN(server.listen, FreeAddress());
  std::ofstream config(server.config);
  config << "meta = \"" << meta_.listen << "\"\n"
         << "targets = [\"" << dir_ / name << "\"]\n"
         << "listen = \"" << server.listen << "\"\n"
         << "grpc = \"127.0.0.1:0\"\n"
         << "metrics = \"127.0.0.1:0\"\n"
         << "slab_mib = 64\nbuffer_mib = " << options_.buffer_mib << "\n";
  if (options_.unix_sockets) config << "unix_path = \"" << dir_ / (name + ".sock") << "\"\n";
  servers_.push_back(std::move(server));
  return Status::Ok();
}

Status ProcessCluster::MakeChains() {
  const auto channel = MakeChannel(meta_.listen);
  RETURN_IF_ERROR(WaitConnected(channel, meta_.listen, kStartTimeout));
  const auto stub = proto::Cluster::NewStub(channel);
  RETURN_IF_ERROR(WatchUntil(*stub, "registration of all storage servers",
                             [&](const auto& map) { return map.nodes_size() == servers(); }));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kStartTimeout);
  proto::CreateChainsRequest request;
  request.set_replicas(1);
  request.set_chains_per_target(options_.chains_per_target);
  proto::CreateChainsResponse response;
  const grpc::Status made = stub->CreateChains(&context, request, &response);
  if (!made.ok()) return FromGrpc(made).With("create chains");
  return WatchUntil(*stub, "serving of all chains",
                    [&](const auto& map) { return AllServe(map, servers()); });
}

Status ProcessCluster::Launch(Daemon& daemon) {
  CHECK(daemon.pid < 0, daemon.program + " runs already");
  const UniqueFd log(::open(daemon.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!log.IsOpen()) return Status::FromErrno(errno, "open " + daemon.log);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return Status::FromErrno(errno, "fork");
  if (pid == 0) {
    // Only async-signal-safe calls from here on: other threads' locks are lost.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(127);
    ::dup2(log.get(), STDOUT_FILENO);
    ::dup2(log.get(), STDERR_FILENO);
    ::execl(daemon.program.c_str(), daemon.program.c_str(), "--config", daemon.config.c_str(),
            nullptr);
    ::_exit(127);
  }
  daemon.pid = pid;
  return Status::Ok();
}

void ProcessCluster::Kill(Daemon& daemon) {
  if (daemon.pid < 0) return;
  ::kill(daemon.pid, SIGKILL);
  ::waitpid(daemon.pid, nullptr, 0);
  daemon.pid = -1;
}

Result<int> ProcessCluster::StopServer(int server) {
  Daemon& daemon = servers_[static_cast<size_t>(server)];
  CHECK(daemon.pid > 0, "stop of a server that does not run");
  ::kill(daemon.pid, SIGTERM);
  int status = 0;
  ::waitpid(daemon.pid, &status, 0);
  daemon.pid = -1;
  if (!WIFEXITED(status)) return Status(Code::kIo, "killed by a signal\n" + Tail(daemon));
  return WEXITSTATUS(status);
}

void ProcessCluster::PauseServer(int server) {
  ::kill(servers_[static_cast<size_t>(server)].pid, SIGSTOP);
}

void ProcessCluster::ResumeServer(int server) {
  ::kill(servers_[static_cast<size_t>(server)].pid, SIGCONT);
}

std::string ProcessCluster::Tail(const Daemon& daemon) {
  constexpr size_t kBytes = 2000;
  std::ifstream in(daemon.log);
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (text.size() > kBytes) text.erase(0, text.size() - kBytes);
  return daemon.log + ":\n" + text + "\n";
}

}  // namespace sheaf::testing
