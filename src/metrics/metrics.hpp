// What is counted while the server runs, and the text that Prometheus reads.
//
//   Metrics metrics;
//   metrics.commands.of(command, status).add();
//   metrics.http_requests(method, route, status).add();
//   const std::string text = metrics.to_text(gauges, locks);
//
// Counting is an addition to a number, at the place where the thing happens. prometheus-cpp's own
// counters are atomics behind a map of labels, for threads that we do not have; only its text
// serializer is used. No label comes from a client, so that none can make them grow.
//
// For the loop's thread only.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace dflockd::metrics {

/// What the kernel says of this process: the metrics that every exporter has, which show what the
/// server costs. A value is missing if it cannot be read, for instance where /proc is not mounted.
struct ProcessUsage {
  std::optional<double> cpu_seconds;  ///< in user and system mode, of all threads
  std::optional<std::uint64_t> open_descriptors;
  std::optional<std::uint64_t> max_descriptors;  ///< the soft limit
  std::optional<std::uint64_t> virtual_bytes;
  std::optional<std::uint64_t> resident_bytes;
};

/// Some system calls; before Linux 6.2 also one for some hundred descriptors that are open.
[[nodiscard]] ProcessUsage read_process_usage();

class Counter {
 public:
  void add(std::uint64_t count = 1) { value_ += count; }
  [[nodiscard]] std::uint64_t value() const { return value_; }

 private:
  std::uint64_t value_ = 0;
};

/// Times in seconds, counted in buckets of fixed bounds.
class Histogram {
 public:
  /// The upper bounds: from a tenth of a millisecond, the shortest that a network shows, to
  /// minutes, for which clients wait.
  static constexpr std::array kBounds{0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1,
                                      0.5,    1.0,    5.0,   10.0,  30.0, 60.0, 300.0};

  void observe(std::chrono::nanoseconds time);
  /// The same for a time of zero, which takes no search.
  void observe_none() {
    ++buckets_.front();
    ++count_;
  }

  [[nodiscard]] std::uint64_t count() const { return count_; }
  [[nodiscard]] double sum() const { return sum_; }
  /// How many were in bucket `i`, above the bound before.
  [[nodiscard]] std::uint64_t in_bucket(std::size_t i) const { return buckets_[i]; }

 private:
  std::array<std::uint64_t, kBounds.size()> buckets_{};
  std::uint64_t count_ = 0;
  double sum_ = 0;
};

/// What is true now.
struct Gauges {
  bool ready = true;
  std::chrono::nanoseconds uptime{0};
  std::size_t connections = 0;
  std::size_t http_sessions = 0;
  std::size_t locks_held = 0;
  std::size_t lock_waiters = 0;
  std::size_t semaphore_holders = 0;
  std::size_t semaphore_waiters = 0;
  std::chrono::system_clock::time_point started_on{};
  ProcessUsage process;
};

/// Connections that were refused, by the reason.
using Rejections = std::vector<std::pair<std::string_view, std::uint64_t>>;

/// Counters by two labels whose values are numbered: what is counted for every request.
class CounterTable {
 public:
  using Names = std::span<const std::string_view>;

  /// The values of the labels, by their number. They must live as long as the table.
  CounterTable(Names rows, Names columns)
      : rows_(rows), columns_(columns), counters_(rows.size() * columns.size()) {}

  Counter& of(std::size_t row, std::size_t column) {
    return counters_[row * columns_.size() + column];
  }
  [[nodiscard]] std::uint64_t value(std::size_t row, std::size_t column) const {
    return counters_[row * columns_.size() + column].value();
  }
  [[nodiscard]] Names rows() const { return rows_; }
  [[nodiscard]] Names columns() const { return columns_; }

 private:
  Names rows_;
  Names columns_;
  std::vector<Counter> counters_;
};

/// What the lock service counts.
struct LockMetrics {
  std::uint64_t grants = 0;
  Counter lease_expirations;
  Histogram grant_wait;  ///< from a request to its grant, which may be at once
};

class Metrics {
 public:
  /// The names of the commands of the line protocol and of the statuses of their replies.
  Metrics(CounterTable::Names command_names, CounterTable::Names status_names)
      : commands(command_names, status_names) {}

  CounterTable commands;
  Histogram loop_lag;  ///< how late the reactor's tick ran

  // The labels must be literals.

  Counter& http_requests(std::string_view method, std::string_view route, int status) {
    return http_requests_[{method, route, status}];
  }
  /// From a whole request to its response.
  Histogram& http_duration(std::string_view route) { return http_durations_[route]; }
  Counter& auth_failures(std::string_view transport) { return auth_failures_[transport]; }

  /// Everything in the text format, version 0.0.4.
  [[nodiscard]] std::string to_text(const Gauges& gauges, const LockMetrics& locks,
                                    const Rejections& rejections) const;

 private:
  std::map<std::tuple<std::string_view, std::string_view, int>, Counter> http_requests_;
  std::map<std::string_view, Histogram> http_durations_;
  std::map<std::string_view, Counter> auth_failures_;
};

}  // namespace dflockd::metrics
