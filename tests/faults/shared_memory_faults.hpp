// The `MemoryFaults` of a server, in a file that both processes map.
#pragma once

#include <map>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory_faults.hpp"

namespace dflockd::conformance {

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

}  // namespace dflockd::conformance
