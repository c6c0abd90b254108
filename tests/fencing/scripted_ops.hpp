// File operations that go wrong as a test says, and tell what was done.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "fencing/file_ops.hpp"

namespace dflockd::fencing {

/// The system's operations. fsync(2) only pretends, to spare the disk.
class ScriptedOps : public FileOps {
 public:
  /// Asked before each operation with its name: 0, or the `errno` it shall fail with.
  std::function<int(const std::string& operation)> fault = [](const std::string&) { return 0; };

  /// The most bytes that a read or write transfers at once.
  std::size_t longest_transfer = std::numeric_limits<std::size_t>::max();

  /// The operations so far; "pwrite" with its offset.
  std::vector<std::string> calls;

  /// Lets the operation with that number, counted from now and from 0, fail.
  void fail_call(std::size_t number, int error) {
    fault = [number, error, call = std::size_t{0}](const std::string&) mutable {
      return call++ == number ? error : 0;
    };
  }

  int open(const char* path, int flags) override {
    return fails("open") ? -1 : FileOps::open(path, flags);
  }
  int mkostemp(char* path_template, int flags) override {
    return fails("mkostemp") ? -1 : FileOps::mkostemp(path_template, flags);
  }
  int fstat(int fd, struct stat& status) override {
    return fails("fstat") ? -1 : FileOps::fstat(fd, status);
  }
  int flock(int fd, int operation) override {
    return fails("flock") ? -1 : FileOps::flock(fd, operation);
  }
  ssize_t pread(int fd, void* bytes, std::size_t size, off_t offset) override {
    if (fails("pread")) return -1;
    return FileOps::pread(fd, bytes, std::min(size, longest_transfer), offset);
  }
  ssize_t pwrite(int fd, const void* bytes, std::size_t size, off_t offset) override {
    if (fails("pwrite " + std::to_string(offset))) return -1;
    return FileOps::pwrite(fd, bytes, std::min(size, longest_transfer), offset);
  }
  int fsync(int /*fd*/) override { return fails("fsync") ? -1 : 0; }
  int link(const char* existing, const char* name) override {
    return fails("link") ? -1 : FileOps::link(existing, name);
  }
  int unlink(const char* path) override { return fails("unlink") ? -1 : FileOps::unlink(path); }

 private:
  bool fails(const std::string& operation) {
    calls.push_back(operation);
    errno = fault(operation);
    return errno != 0;
  }
};

}  // namespace dflockd::fencing
