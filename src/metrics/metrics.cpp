#include "metrics/metrics.hpp"

#include <algorithm>
#include <deque>
#include <filesystem>
#include <fstream>
#include <optional>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>
#include <sstream>
#include <system_error>
#include <utility>

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

namespace dflockd::metrics {

namespace {

constexpr const char* kDescriptors = "/proc/self/fd";

double to_seconds(const timeval& time) {
  constexpr double kMicrosecond = 1e-6;
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * kMicrosecond;
}

std::optional<std::uint64_t> count_descriptors() {
  struct stat status {};
  if (::stat(kDescriptors, &status) != 0) return std::nullopt;
  if (status.st_size > 0) return static_cast<std::uint64_t>(status.st_size);  // since Linux 6.2
  std::error_code error;
  std::uint64_t count = 0;
  std::filesystem::directory_iterator entry(kDescriptors, error);
  while (!error && entry != std::filesystem::directory_iterator()) {
    ++count;
    entry.increment(error);
  }
  if (error || count == 0) return std::nullopt;
  return count - 1;  // without that of the directory itself
}

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

using Labels = std::vector<ClientMetric::Label>;

/// Gathers the families in the order in which they are shown.
class Families {
 public:
  MetricFamily& add(const char* name, const char* help, MetricType type) {
    return families_.emplace_back(MetricFamily{name, help, type, {}});
  }
  void gauge(const char* name, const char* help, double value, Labels labels = {}) {
    ClientMetric metric;
    metric.label = std::move(labels);
    metric.gauge.value = value;
    add(name, help, MetricType::Gauge).metric.push_back(std::move(metric));
  }
  void counter(const char* name, const char* help, double value) {
    add_to(add(name, help, MetricType::Counter), value);
  }
  static void add_to(MetricFamily& family, double value, Labels labels = {}) {
    ClientMetric metric;
    metric.label = std::move(labels);
    metric.counter.value = value;
    family.metric.push_back(std::move(metric));
  }
  static void add_to(MetricFamily& family, const Histogram& histogram, Labels labels = {}) {
    ClientMetric metric;
    metric.label = std::move(labels);
    metric.histogram.sample_count = histogram.count();
    metric.histogram.sample_sum = histogram.sum();
    std::uint64_t cumulative = 0;
    for (std::size_t i = 0; i < Histogram::kBounds.size(); ++i) {
      cumulative += histogram.in_bucket(i);
      metric.histogram.bucket.push_back({cumulative, Histogram::kBounds[i]});
    }
    family.metric.push_back(std::move(metric));
  }

  [[nodiscard]] std::string to_text() const {
    std::ostringstream out;
    prometheus::TextSerializer().Serialize(out, {families_.begin(), families_.end()});
    return std::move(out).str();
  }

 private:
  std::deque<MetricFamily> families_;  ///< whose elements stay where they are
};

double to_double(std::size_t count) {
  return static_cast<double>(count);
}

void add_commands(Families& families, const CounterTable& commands) {
  MetricFamily& family =
      families.add("dflockd_commands_total",
                   "Requests by command and reply of the line protocol, those on locks and "
                   "semaphores over HTTP included.",
                   MetricType::Counter);
  for (std::size_t row = 0; row < commands.rows().size(); ++row) {
    for (std::size_t column = 0; column < commands.columns().size(); ++column) {
      const std::uint64_t value = commands.value(row, column);
      if (value == 0) continue;
      Families::add_to(family, to_double(value),
                       {{"command", std::string(commands.rows()[row])},
                        {"status", std::string(commands.columns()[column])}});
    }
  }
}

void add_gauges(Families& families, const Gauges& gauges) {
  families.gauge("dflockd_build_info", "The version that runs.", 1, {{"version", DFLOCKD_VERSION}});
  families.gauge("dflockd_ready", "1 while locks are granted, 0 while the server drains.",
                 gauges.ready ? 1 : 0);
  families.gauge("dflockd_uptime_seconds", "Time since the start.",
                 std::chrono::duration<double>(gauges.uptime).count());
  families.gauge("dflockd_connections", "TCP connections of the line protocol.",
                 to_double(gauges.connections));
  families.gauge("dflockd_http_sessions", "HTTP sessions.", to_double(gauges.http_sessions));
  families.gauge("dflockd_locks_held", "Locks that are held.", to_double(gauges.locks_held));
  families.gauge("dflockd_lock_waiters", "Requests that wait for a lock.",
                 to_double(gauges.lock_waiters));
  families.gauge("dflockd_semaphore_holders", "Slots of semaphores that are held.",
                 to_double(gauges.semaphore_holders));
  families.gauge("dflockd_semaphore_waiters", "Requests that wait for a slot.",
                 to_double(gauges.semaphore_waiters));
}

void add_process(Families& families, const Gauges& gauges) {
  const ProcessUsage& process = gauges.process;
  const auto add = [&families](const char* name, const char* help,
                               const std::optional<std::uint64_t>& value) {
    if (value) families.gauge(name, help, static_cast<double>(*value));
  };
  if (process.cpu_seconds) {
    families.counter("process_cpu_seconds_total", "Processor time in user and system mode.",
                     *process.cpu_seconds);
  }
  add("process_open_fds", "Descriptors that are open.", process.open_descriptors);
  add("process_max_fds", "Descriptors that may be open.", process.max_descriptors);
  add("process_virtual_memory_bytes", "Address space in use.", process.virtual_bytes);
  add("process_resident_memory_bytes", "Memory that is resident.", process.resident_bytes);
  families.gauge("process_start_time_seconds", "When the process started, in Unix time.",
                 std::chrono::duration<double>(gauges.started_on.time_since_epoch()).count());
}

}  // namespace

ProcessUsage read_process_usage() {
  ProcessUsage result;
  rusage usage{};
  if (::getrusage(RUSAGE_SELF, &usage) == 0) {
    result.cpu_seconds = to_seconds(usage.ru_utime) + to_seconds(usage.ru_stime);
  }
  result.open_descriptors = count_descriptors();
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) result.max_descriptors = limit.rlim_cur;
  std::uint64_t pages = 0;
  std::uint64_t resident_pages = 0;
  if (std::ifstream("/proc/self/statm") >> pages >> resident_pages) {
    const auto page_size = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    result.virtual_bytes = pages * page_size;
    result.resident_bytes = resident_pages * page_size;
  }
  return result;
}

void Histogram::observe(std::chrono::nanoseconds time) {
  const double seconds = std::chrono::duration<double>(time).count();
  const auto* const bound = std::ranges::lower_bound(kBounds, seconds);
  if (bound != kBounds.end()) ++buckets_[static_cast<std::size_t>(bound - kBounds.begin())];
  ++count_;
  sum_ += seconds;
}

std::string Metrics::to_text(const Gauges& gauges, const LockMetrics& locks,
                             const Rejections& rejections) const {
  Families families;
  add_gauges(families, gauges);
  add_commands(families, commands);
  families.counter("dflockd_grants_total", "Locks and slots granted.", to_double(locks.grants));
  families.counter("dflockd_lease_expirations_total", "Leases that ran out.",
                   to_double(locks.lease_expirations.value()));
  Families::add_to(families.add("dflockd_grant_wait_seconds", "Time from a request to its grant.",
                                MetricType::Histogram),
                   locks.grant_wait);
  Families::add_to(families.add("dflockd_loop_lag_seconds", "How late the event loop's tick ran.",
                                MetricType::Histogram),
                   loop_lag);
  MetricFamily& durations =
      families.add("dflockd_http_request_duration_seconds",
                   "Time from a whole HTTP request to its response.", MetricType::Histogram);
  for (const auto& [route, histogram] : http_durations_) {
    Families::add_to(durations, histogram, {{"path", std::string(route)}});
  }

  MetricFamily& requests =
      families.add("dflockd_http_requests_total", "HTTP requests.", MetricType::Counter);
  for (const auto& [labels, counter] : http_requests_) {
    const auto& [method, route, status] = labels;
    Families::add_to(requests, to_double(counter.value()),
                     {{"method", std::string(method)},
                      {"path", std::string(route)},
                      {"status", std::to_string(status)}});
  }
  MetricFamily& rejected = families.add("dflockd_connections_rejected_total",
                                        "Connections that were refused.", MetricType::Counter);
  for (const auto& [reason, count] : rejections) {
    Families::add_to(rejected, to_double(count), {{"reason", std::string(reason)}});
  }
  MetricFamily& failures = families.add(
      "dflockd_auth_failures_total", "Clients that did not know the secret.", MetricType::Counter);
  for (const auto& [transport, counter] : auth_failures_) {
    Families::add_to(failures, to_double(counter.value()), {{"transport", std::string(transport)}});
  }
  add_process(families, gauges);
  return families.to_text();
}

}  // namespace dflockd::metrics
