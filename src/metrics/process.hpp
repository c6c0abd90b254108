// What the kernel tells of this process: the metrics that every exporter has, which say what the
// server costs. Any thread.
#pragma once

#include <cstdint>
#include <optional>

namespace dflockd::metrics {

/// What cannot be told, for instance where /proc is not mounted, is not there.
struct ProcessUsage {
  std::optional<double> cpu_seconds;  ///< in user and system mode, of all threads
  std::optional<std::uint64_t> open_descriptors;
  std::optional<std::uint64_t> max_descriptors;  ///< the soft limit
  std::optional<std::uint64_t> virtual_bytes;
  std::optional<std::uint64_t> resident_bytes;
};

/// Some system calls; before Linux 6.2 also one for some hundred descriptors that are open.
[[nodiscard]] ProcessUsage read_process_usage();

}  // namespace dflockd::metrics
