#include "common/metrics.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <chrono>
#include <ctime>
#include <memory>
#include <thread>
#include <vector>

#include "common/fd.h"
#include "common/process_metrics.h"

namespace sheaf {
namespace {

using ::testing::HasSubstr;

std::string HttpGet(uint16_t port, const std::string& path) {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return "";
  const std::string request = "GET " + path + " HTTP/1.0\r\n\r\n";
  if (send(fd.get(), request.data(), request.size(), 0) < 0) return "";
  std::string answer;
  char buffer[4096];
  for (ssize_t got; (got = recv(fd.get(), buffer, sizeof buffer, 0)) > 0;) answer.append(buffer, got);
  return answer;
}

TEST(MetricsTest, TextHasEveryKind) {
  Metrics metrics;
  metrics.AddCounter("a_total", "Things.", {{"kind", "x"}}).Add(3);
  metrics.AddGauge("b_bytes", "Size.").Set(17);
  metrics.AddLatency("c_seconds", "Wait.").Observe(0.003);
  double value = 5;
  metrics.AddCallback("d_depth", "Queue.", {{"disk", "0"}}, [&] { return value; });
  metrics.AddCallback("d_depth", "Queue.", {{"disk", "1"}}, [&] { return value + 1; });
  value = 8;
  const std::string text = metrics.Text();
  for (const char* line :
       {"# HELP a_total Things.", "# TYPE a_total counter", "a_total{kind=\"x\"} 3", "b_bytes 17",
        "c_seconds_bucket{le=\"0.002\"} 0", "c_seconds_bucket{le=\"0.005\"} 1", "c_seconds_count 1",
        "# TYPE d_depth gauge", "d_depth{disk=\"0\"} 8", "d_depth{disk=\"1\"} 9"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST(MetricsTest, TheSameNameAndLabelsAreTheSameHandle) {
  Metrics metrics;
  auto& first = metrics.AddCounter("a_total", "Things.", {{"kind", "x"}});
  auto& other = metrics.AddCounter("a_total", "Things.", {{"kind", "y"}});
  auto& again = metrics.AddCounter("a_total", "Things.", {{"kind", "x"}});
  EXPECT_EQ(&first, &again);
  EXPECT_NE(&first, &other);
  again.Add(2);
  EXPECT_EQ(first.Value(), 2u);
}

TEST(MetricsTest, ServesTheTextOverHttp) {
  Metrics metrics;
  metrics.AddGauge("b_bytes", "Size.").Set(17);
  metrics.AddCallback("d_depth", "Queue.", {}, [] { return 4; });
  const Status status = metrics.Serve("127.0.0.1:0");
  ASSERT_TRUE(status.ok()) << status.ToString();
  const std::string answer = HttpGet(metrics.port(), "/metrics");
  EXPECT_THAT(answer, HasSubstr("200 OK"));
  EXPECT_THAT(answer, HasSubstr("b_bytes 17"));
  EXPECT_THAT(answer, HasSubstr("d_depth 4"));
}

TEST(MetricsTest, CountsFromManyThreadsAddUp) {
  Metrics metrics;
  auto& counter = metrics.AddCounter("a_total", "Things.");
  auto& latency = metrics.AddLatency("c_seconds", "Wait.");
  constexpr int kThreads = 4, kEach = 10000;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kEach; ++i) {
        counter.Add(2);
        latency.Observe(0.001);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counter.Value(), 2u * kThreads * kEach);
  EXPECT_EQ(latency.Count(), 1u * kThreads * kEach);
  EXPECT_NEAR(latency.SumSeconds(), 0.001 * kThreads * kEach, 1e-6);
}

TEST(MetricsTest, ABucketTakesItsUpperBoundAndTheLastTakesTheRest) {
  Metrics metrics;
  auto& latency = metrics.AddLatency("c_seconds", "Wait.");
  for (const double seconds : {-1.0, 0.0, 10e-6, 10.1e-6, 30.0, 31.0}) latency.Observe(seconds);
  EXPECT_EQ(latency.InBucket(0), 3u);
  EXPECT_EQ(latency.InBucket(1), 1u);
  EXPECT_EQ(latency.InBucket(Metrics::Histogram::kBounds.size() - 1), 1u);
  EXPECT_EQ(latency.InBucket(Metrics::Histogram::kBounds.size()), 1u);
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("c_seconds_bucket{le=\"30\"} 5"));
  EXPECT_THAT(text, HasSubstr("c_seconds_bucket{le=\"+Inf\"} 6"));
  EXPECT_THAT(text, HasSubstr("c_seconds_count 6"));
}

TEST(MetricsTest, CallbacksAreNotAskedOnceServingHasStopped) {
  Metrics metrics;
  auto& counter = metrics.AddCounter("a_total", "Things.");
  auto state = std::make_unique<int>(4);
  metrics.AddCallback("d_depth", "Queue.", {}, [&] { return *state; });
  ASSERT_TRUE(metrics.Serve("127.0.0.1:0").ok());
  const uint16_t port = metrics.port();
  metrics.StopServing();
  state.reset();
  EXPECT_EQ(HttpGet(port, "/metrics"), "");
  counter.Add();  // what goes on counting may
  EXPECT_THAT(metrics.Text(), HasSubstr("a_total 1"));
  EXPECT_THAT(metrics.Text(), ::testing::Not(HasSubstr("d_depth")));
  metrics.StopServing();  // once more does nothing
}

TEST(MetricsTest, ServersStopWithoutWaitingForTheirNextLookAround) {
  // The library under it looks at its stop flag every 2 s: each of these would take that long.
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 30; ++i) {
    Metrics metrics;
    ASSERT_TRUE(metrics.Serve("127.0.0.1:0").ok());
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
}

TEST(MetricsTest, AProcessTellsOfItself) {
  Metrics metrics;
  AddProcessMetrics(metrics);
  const std::string text = metrics.Text();
  const auto value = [&](const std::string& name) {
    const size_t at = text.find("\n" + name + " ");
    return at == std::string::npos ? -1 : std::strtod(text.c_str() + at + name.size() + 2, nullptr);
  };
  EXPECT_GT(value("process_cpu_seconds_total"), 0);
  EXPECT_GT(value("process_resident_memory_bytes"), 1e6);
  EXPECT_GT(value("process_open_fds"), 2);
  EXPECT_GE(value("process_max_fds"), value("process_open_fds"));
  const double now = static_cast<double>(std::time(nullptr));
  EXPECT_LE(value("process_start_time_seconds"), now + 2);
  EXPECT_GT(value("process_start_time_seconds"), now - 3600);
  EXPECT_THAT(text, HasSubstr("sheaf_build_info{version="));
}

TEST(MetricsTest, APortInUseIsOneClearError) {
  Metrics first, second;
  ASSERT_TRUE(first.Serve("127.0.0.1:0").ok());
  const std::string address = "127.0.0.1:" + std::to_string(first.port());
  const Status status = second.Serve(address);
  EXPECT_EQ(status.code(), Code::kExists);
  EXPECT_THAT(status.message(), HasSubstr(address));
  EXPECT_THAT(status.message(), HasSubstr("in use"));
}

TEST(MetricsTest, RefusesAnAddressThatIsNoneByName) {
  for (const char* address : {"", "localhost", "127.0.0.1:", ":7701", "127.0.0.1:70000", "h:1x"}) {
    const Status status = Metrics().Serve(address);
    EXPECT_EQ(status.code(), Code::kUsage) << address;
    EXPECT_THAT(status.message(), HasSubstr("\"" + std::string(address) + "\""));
  }
  EXPECT_EQ(Metrics().Serve("192.0.2.1:0").code(), Code::kUsage) << "not this machine's";
}

}  // namespace
}  // namespace sheaf
