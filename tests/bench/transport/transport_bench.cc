// What an answer costs over the framed transport, beside a bare gRPC echo of the same and beside
// iperf3 with as many connections, in one run and in two processes each.
//
//   transport_bench [--runs N] [--seconds S] [--connections C] [--json FILE]
//                   [--only framed|grpc|iperf3] [--connect ADDRESS]
//
// Rows: 4 KiB and 16 KiB answers at depth 128, 1 MiB answers at depth 8, a connection; goals are
// 200,000 answers of 4 KiB a second and, of 1 MiB, 0.8 of iperf3. Every run
// measures all rows in turn; figures are medians over the runs, with the lowest and the highest.
// CPU time is per answer, client and server. --connect uses a framed echo server that already runs
// (sheaf-storage --echo), whose CPU time is then not counted.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tests/bench/transport/echo_load.h"
#include "tests/bench/transport/server_process.h"

namespace sheaf::bench {
namespace {

struct Options {
  int runs = 3;
  double seconds = 2;
  int connections = 1;
  std::string json_file;
  std::string only;
  std::string connect;
};

struct Sample {
  double per_second = 0;
  double gb_per_second = 0;
  double client_us = 0;  // CPU an answer
  double server_us = 0;
};

struct Row {
  std::string plane;
  size_t bytes;
  int depth;
  std::vector<Sample> samples;
  std::string name() const { return plane + " " + std::to_string(bytes / 1024) + " KiB"; }
};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

double MedianOf(const Row& row, double Sample::*member) {
  std::vector<double> values;
  for (const Sample& sample : row.samples) values.push_back(sample.*member);
  return Median(std::move(values));
}

Result<Sample> Measure(const Options& options, const Row& row) {
  const bool framed = row.plane == "framed";
  std::optional<ServerProcess> server;
  std::string address = options.connect;
  if (!framed || address.empty()) {
    ASSIGN_OR_RETURN(auto started, ServerProcess::Start({"/proc/self/exe", "--serve", row.plane},
                                                        /*announces=*/true));
    server.emplace(std::move(started));
    address = server->announced();
  }
  Load load;
  load.answer_bytes = row.bytes;
  load.depth = row.depth;
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
  Sample sample;
  sample.per_second = runner->per_second();
  sample.gb_per_second = sample.per_second * static_cast<double>(row.bytes) / 1e9;
  const double answers = std::max(1.0, sample.per_second * options.seconds);
  sample.client_us = client * 1e6 / answers;
  sample.server_us = served * 1e6 / answers;
  return sample;
}

std::string FreePort() {
  auto listener = Listen({.host = "127.0.0.1"}, 1);
  CHECK(listener.ok(), listener.status().ToString());
  return std::to_string(BoundAddress(listener->get(), {.host = "127.0.0.1"})->port);
}

Sample FromIperf3(const nlohmann::json& end) {
  Sample sample;
  const double bytes = end["sum_received"]["bits_per_second"].get<double>() / 8;
  sample.gb_per_second = bytes / 1e9;
  sample.per_second = bytes / (1 << 20);
  const auto& cpu = end["cpu_utilization_percent"];
  sample.client_us = cpu["host_total"].get<double>() * 1e4 / sample.per_second;
  sample.server_us = cpu["remote_total"].get<double>() * 1e4 / sample.per_second;
  return sample;
}

// The server sends, as it does when it answers. An "answer" is a MiB.
Result<Sample> MeasureIperf3(const Options& options) {
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

struct Report {
  std::vector<Row> rows = {{"framed", 4 << 10, 128, {}}, {"framed", 16 << 10, 128, {}},
                           {"framed", 1 << 20, 8, {}},   {"grpc", 4 << 10, 128, {}},
                           {"grpc", 1 << 20, 8, {}},     {"iperf3", 1 << 20, 0, {}}};

  // Of the median rates; 0 when one was not measured.
  double Ratio(const std::string& a, const std::string& b) const {
    const double below = RateOf(b);
    return below > 0 ? RateOf(a) / below : 0;
  }

 private:
  double RateOf(const std::string& name) const {
    const auto row =
        std::find_if(rows.begin(), rows.end(), [&](const Row& r) { return r.name() == name; });
    return row == rows.end() ? 0 : MedianOf(*row, &Sample::per_second);
  }
};

constexpr struct {
  const char* a;
  const char* b;
} kRatios[] = {{"framed 1024 KiB", "iperf3 1024 KiB"},
               {"framed 1024 KiB", "grpc 1024 KiB"},
               {"framed 4 KiB", "grpc 4 KiB"}};

nlohmann::json ToJson(const Options& options, const Report& report) {
  nlohmann::json json;
  json["connections"] = options.connections;
  json["runs"] = options.runs;
  for (const Row& row : report.rows) {
    if (row.samples.empty()) continue;
    auto& entry = json["rows"][row.name()];
    entry["depth"] = row.depth;
    entry["answers_per_s"] = MedianOf(row, &Sample::per_second);
    entry["gb_per_s"] = MedianOf(row, &Sample::gb_per_second);
    entry["client_cpu_us"] = MedianOf(row, &Sample::client_us);
    entry["server_cpu_us"] = MedianOf(row, &Sample::server_us);
    for (const Sample& sample : row.samples) {
      entry["all_answers_per_s"].push_back(sample.per_second);
    }
  }
  for (const auto& [a, b] : kRatios) {
    const double ratio = report.Ratio(a, b);
    if (ratio > 0) json["ratios"][std::string(a) + " / " + b] = ratio;
  }
  return json;
}

void Print(const Options& options, const Report& report) {
  std::printf("%-16s %6s %12s %10s %12s %12s %22s\n", "answers", "depth", "per second", "GB/s",
              "client us", "server us", "lowest..highest");
  for (const Row& row : report.rows) {
    if (row.samples.empty()) continue;
    std::vector<double> rates;
    for (const Sample& sample : row.samples) rates.push_back(sample.per_second);
    const auto [low, high] = std::minmax_element(rates.begin(), rates.end());
    std::printf("%-16s %6d %12.0f %10.2f %12.2f %12.2f %10.0f..%.0f\n", row.name().c_str(),
                row.depth, MedianOf(row, &Sample::per_second),
                MedianOf(row, &Sample::gb_per_second), MedianOf(row, &Sample::client_us),
                MedianOf(row, &Sample::server_us), *low, *high);
  }
  std::printf("\n%d connection(s)\n", options.connections);
  for (const auto& [a, b] : kRatios) {
    const double ratio = report.Ratio(a, b);
    if (ratio > 0) std::printf("%s to %s: %.2f\n", a, b, ratio);
  }
}

int Run(const Options& options) {
  Report report;
  for (int run = 0; run < options.runs; ++run) {
    for (Row& row : report.rows) {
      if (!options.only.empty() && options.only != row.plane) continue;
      const auto sample = row.plane == "iperf3" ? MeasureIperf3(options) : Measure(options, row);
      if (!sample.ok()) {
        std::fprintf(stderr, "%s: %s\n", row.name().c_str(), sample.status().ToString().c_str());
        return 1;
      }
      row.samples.push_back(*sample);
    }
  }
  Print(options, report);
  const std::string json = ToJson(options, report).dump(2);
  if (options.json_file.empty()) {
    std::printf("\n%s\n", json.c_str());
  } else {
    std::ofstream(options.json_file) << json << "\n";
  }
  return 0;
}

int Usage() {
  std::fprintf(stderr,
               "usage: transport_bench [--runs N] [--seconds S] [--connections C] [--json FILE]\n"
               "                       [--only framed|grpc|iperf3] [--connect ADDRESS]\n");
  return 2;
}

int Main(int argc, char** argv) {
  Options options;
  std::map<std::string, std::string> given;
  for (int i = 1; i + 1 < argc; i += 2) given[argv[i]] = argv[i + 1];
  if (argc % 2 == 0) return Usage();
  for (const auto& [name, value] : given) {
    if (name == "--serve") return value == "framed" ? ServeFramed() : ServeGrpc();
    if (name == "--runs")
      options.runs = std::max(1, std::atoi(value.c_str()));
    else if (name == "--seconds")
      options.seconds = std::max(0.1, std::atof(value.c_str()));
    else if (name == "--connections")
      options.connections = std::max(1, std::atoi(value.c_str()));
    else if (name == "--json")
      options.json_file = value;
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
