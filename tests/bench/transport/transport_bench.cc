// What an answer costs over the framed transport, beside a bare gRPC echo of the same and beside
// iperf3 with as many connections, in one run and in two processes each. Each iteration is one
// round of all sides of an answer size in turn; the figures are medians over the rounds, and a
// ratio is the median of the rounds' ratios.
//
//   transport_bench [--rounds 3] [--seconds 2] [--connections 1] [--only framed|grpc|iperf3]
//                   [--connect ADDRESS] [options of Google Benchmark]
//
// 4 KiB and 16 KiB answers at depth 128, 1 MiB answers at depth 8, a connection; goals are 200,000
// answers of 4 KiB a second and, of 1 MiB, 0.8 of iperf3. Counters: answers a second and GB/s of a
// side, CPU microseconds an answer at the client and at the server. --connect uses a framed echo
// server that already runs (sheaf-storage --echo), whose CPU time is then not counted.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/bench/samples.h"
#include "tests/bench/transport/echo_load.h"
#include "tests/bench/transport/server_process.h"

namespace sheaf::bench {
namespace {

struct Options {
  int rounds = 3;
  double seconds = 2;
  int connections = 1;
  std::string only;
  std::string connect;
};

// Answers of one size.
struct Answers {
  const char* name;
  size_t bytes;
  int depth;  // a connection
  std::vector<std::string> planes;
  // What the framed plane should reach; 0: no goal.
  double framed_per_s_goal;
  double to_iperf3_goal;
};

// What one plane did in one round.
struct Figure {
  double per_second = 0;  // answers
  double client_us = 0;   // CPU an answer
  double server_us = 0;
};

Result<Figure> MeasureEcho(const Options& options, const Answers& answers,
                           const std::string& plane) {
  const bool framed = plane == "framed";
  std::optional<ServerProcess> server;
  std::string address = options.connect;
  if (!framed || address.empty()) {
    ASSIGN_OR_RETURN(auto started, ServerProcess::Start({"/proc/self/exe", "--serve", plane},
                                                        /*announces=*/true));
    server.emplace(std::move(started));
    address = server->announced();
  }
  Load load;
  load.answer_bytes = answers.bytes;
  load.depth = answers.depth;
  load.connections = options.connections;
  load.duration = std::chrono::milliseconds(static_cast<int64_t>(options.seconds * 1000));
  ASSIGN_OR_RETURN(auto runner,
                   framed ? MakeFramedRunner(address, load) : MakeGrpcRunner(address, load));
  double client = 0;
  double served = 0;
  const auto cpu = [&](double sign) {
    client += sign * OwnCpuSeconds();
    if (server) served += sign * server->CpuSeconds();
  };
  RETURN_IF_ERROR(runner->Run([&] { cpu(-1); }, [&] { cpu(1); }));
  Figure figure;
  figure.per_second = runner->per_second();
  const double count = std::max(1.0, figure.per_second * options.seconds);
  figure.client_us = client * 1e6 / count;
  figure.server_us = served * 1e6 / count;
  return figure;
}

std::string FreePort() {
  auto listener = Listen({.host = "127.0.0.1"}, 1);
  CHECK(listener.ok(), listener.status().ToString());
  return std::to_string(BoundAddress(listener->get(), {.host = "127.0.0.1"})->port);
}

Figure FromIperf3(const nlohmann::json& end) {
  Figure figure;
  figure.per_second = end["sum_received"]["bits_per_second"].get<double>() / 8 / (1 << 20);
  const auto& cpu = end["cpu_utilization_percent"];
  figure.client_us = cpu["host_total"].get<double>() * 1e4 / figure.per_second;
  figure.server_us = cpu["remote_total"].get<double>() * 1e4 / figure.per_second;
  return figure;
}

// The server sends, as it does when it answers. An "answer" is a MiB.
Result<Figure> MeasureIperf3(const Options& options) {
  const std::string port = FreePort();
  ASSIGN_OR_RETURN(auto server, ServerProcess::Start({"iperf3", "-s", "-1", "-B", "127.0.0.1", "-p",
                                                      port, "--forceflush"},
                                                     /*announces=*/true));
  const std::string command = "iperf3 -c 127.0.0.1 -R -J -p " + port + " -P " +
                              std::to_string(options.connections) + " -t " +
                              std::to_string(std::max(1, static_cast<int>(options.seconds)));
  std::string text;
  for (int attempt = 0; attempt < 50; ++attempt) {
    std::unique_ptr<FILE, int (*)(FILE*)> output(popen(command.c_str(), "r"), pclose);
    if (!output) return Status(Code::kIo, "run iperf3: cannot start it");
    text.clear();
    char buffer[4096];
    size_t got = 0;
    while ((got = fread(buffer, 1, sizeof(buffer), output.get())) > 0) text.append(buffer, got);
    const auto result = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (result.is_object() && result.contains("end") && result["end"].contains("sum_received")) {
      return FromIperf3(result["end"]);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // its socket is not open yet
  }
  return Status(Code::kIo, "run iperf3: no result (" + text.substr(0, 200) + ")");
}

// The figures of one plane over the rounds.
struct Series {
  std::string plane;
  Samples per_second;
  Samples client_us;
  Samples server_us;
  Samples framed_ratio;  // of the framed plane in the same round to this one

  void Report(benchmark::State& state, size_t bytes) const {
    ReportSpread(state, plane + "_per_s", per_second);
    state.counters[plane + "_gb_per_s"] = per_second.Median() * static_cast<double>(bytes) / 1e9;
    ReportMedian(state, plane + "_client_us", client_us);
    ReportMedian(state, plane + "_server_us", server_us);
    ReportSpread(state, "framed_to_" + plane, framed_ratio);
  }
};

// One round: every plane in turn. The framed one is measured first.
Status RunRound(const Options& options, const Answers& answers, std::vector<Series>& all) {
  double framed = 0;
  for (Series& series : all) {
    auto figure = series.plane == "iperf3" ? MeasureIperf3(options)
                                           : MeasureEcho(options, answers, series.plane);
    RETURN_IF_ERROR(figure.status().With("measure " + series.plane));
    series.per_second.Add(figure->per_second);
    series.client_us.Add(figure->client_us);
    series.server_us.Add(figure->server_us);
    if (series.plane == "framed") {
      framed = figure->per_second;
    } else if (framed > 0) {
      series.framed_ratio.Add(framed / figure->per_second);
    }
  }
  return Status::Ok();
}

void Compare(benchmark::State& state, const Options& options, const Answers& answers) {
  std::vector<Series> all;
  for (const std::string& plane : answers.planes) {
    if (options.only.empty() || options.only == plane) all.push_back({plane, {}, {}, {}, {}});
  }
  if (all.empty()) {
    state.SkipWithError(("not measured over " + options.only).c_str());
    return;
  }
  for (auto _ : state) {
    const Status status = RunRound(options, answers, all);
    if (status.ok()) continue;
    state.SkipWithError(status.ToString().c_str());
    return;
  }
  for (const Series& series : all) series.Report(state, answers.bytes);
  if (answers.framed_per_s_goal > 0) {
    state.counters["framed_per_s_goal"] = answers.framed_per_s_goal;
  }
  if (answers.to_iperf3_goal > 0) {
    state.counters["framed_to_iperf3_goal"] = answers.to_iperf3_goal;
  }
}

// Of iperf3 an "answer" is a MiB.
const Answers kAnswers[] = {{"4KiB_depth128", 4 << 10, 128, {"framed", "grpc"}, 200'000, 0},
                            {"16KiB_depth128", 16 << 10, 128, {"framed"}, 0, 0},
                            {"1MiB_depth8", 1 << 20, 8, {"framed", "grpc", "iperf3"}, 0, 0.8}};

int Run(const Options& options) {
  for (const Answers& answers : kAnswers) {
    const std::string name = std::string("Answers/") + answers.name;
    benchmark::RegisterBenchmark(
        name.c_str(),
        [&options, &answers](benchmark::State& state) { Compare(state, options, answers); })
        ->Iterations(options.rounds)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

int Usage() {
  std::fprintf(stderr,
               "usage: transport_bench [--rounds 3] [--seconds 2] [--connections 1]\n"
               "                       [--only framed|grpc|iperf3] [--connect ADDRESS]\n"
               "                       [--benchmark_...]\n");
  return 2;
}

int Main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);  // takes its own options out
  Options options;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view name = argv[i];
    if (i + 1 == argc) return Usage();
    const std::string value = argv[i + 1];
    if (name == "--serve") return value == "framed" ? ServeFramed() : ServeGrpc();
    if (name == "--rounds")
      options.rounds = std::max(1, std::atoi(value.c_str()));
    else if (name == "--seconds")
      options.seconds = std::max(0.1, std::atof(value.c_str()));
    else if (name == "--connections")
      options.connections = std::max(1, std::atoi(value.c_str()));
    else if (name == "--only")
      options.only = value;
    else if (name == "--connect")
      options.connect = value;
    else
      return Usage();
  }
  return Run(options);
}

}  // namespace
}  // namespace sheaf::bench

int main(int argc, char** argv) { return sheaf::bench::Main(argc, argv); }
