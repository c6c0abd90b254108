// Which of a server's allocations fail: shared between a test and fault_shim.cpp, which is
// preloaded into the server.
//
//   SharedMemoryFaults faults(directory.file("memory"));
//   Server server({.environment = faults.environment()});
//   faults->fail_after(3);        // the fourth allocation from now on fails, and no other
//   faults->stop();
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace dflockd::test {

/// For any thread of either process.
class MemoryFaults {
 public:
  /// `count` allocations fail once `spared` of them have succeeded.
  void fail_after(std::int64_t spared, std::int64_t count = 1) {
    spared_.store(spared);
    due_.store(count);
  }

  void stop() { due_.store(0); }

  /// How many allocations have failed since the server started.
  [[nodiscard]] std::uint64_t failed() const { return failed_.load(); }

  /// Whether the allocation that is being made fails.
  bool strikes() {
    if (due_.load(std::memory_order_relaxed) <= 0) return false;
    const bool struck = spared_.fetch_sub(1) <= 0 && due_.fetch_sub(1) > 0;
    if (struck) failed_.fetch_add(1);
    return struck;
  }

 private:
  std::atomic<std::int64_t> spared_{0};
  std::atomic<std::int64_t> due_{0};
  std::atomic<std::uint64_t> failed_{0};
};

#ifdef DFLOCKD_FAULT_SHIM
/// The `MemoryFaults` of a server, in a file that both processes map.
class SharedMemoryFaults {
 public:
  /// `path` must not exist. Throws `std::system_error`.
  explicit SharedMemoryFaults(std::string path) : path_(std::move(path)) {
    const int file = ::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    void* shared = MAP_FAILED;
    if (file >= 0 && ::ftruncate(file, sizeof(MemoryFaults)) == 0) {
      shared = ::mmap(nullptr, sizeof(MemoryFaults), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    }
    const int error = errno;
    if (file >= 0) ::close(file);
    if (shared == MAP_FAILED) throw std::system_error(error, std::generic_category(), path_);
    faults_ = new (shared) MemoryFaults();
  }
  SharedMemoryFaults(const SharedMemoryFaults&) = delete;
  SharedMemoryFaults& operator=(const SharedMemoryFaults&) = delete;
  ~SharedMemoryFaults() { ::munmap(faults_, sizeof(MemoryFaults)); }

  MemoryFaults* operator->() const { return faults_; }

  /// For a server whose allocations are to fail. Not with the sanitizers, whose library must be
  /// loaded first.
  [[nodiscard]] std::map<std::string, std::string> environment() const {
    return {{"LD_PRELOAD", DFLOCKD_FAULT_SHIM}, {"DFLOCKD_SHIM_MEMORY", path_}};
  }

 private:
  const std::string path_;
  MemoryFaults* faults_ = nullptr;
};
#endif

}  // namespace dflockd::test
