#include "common/metrics.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "common/fd.h"

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
  EXPECT_EQ(first.Value(), 2);
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
