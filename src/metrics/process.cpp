#include "metrics/process.hpp"

#include <filesystem>
#include <fstream>
#include <system_error>

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

}  // namespace dflockd::metrics
