#include "fencing/file_ops.hpp"

#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

namespace dflockd::fencing {

FileOps& FileOps::system() {
  static FileOps operations;
  return operations;
}

int FileOps::open(const char* path, int flags) {
  return ::open(path, flags);
}

int FileOps::mkostemp(char* path_template, int flags) {
  return ::mkostemp(path_template, flags);
}

int FileOps::fstat(int fd, struct stat& status) {
  return ::fstat(fd, &status);
}

int FileOps::flock(int fd, int operation) {
  return ::flock(fd, operation);
}

ssize_t FileOps::pread(int fd, void* bytes, std::size_t size, off_t offset) {
  return ::pread(fd, bytes, size, offset);
}

ssize_t FileOps::pwrite(int fd, const void* bytes, std::size_t size, off_t offset) {
  return ::pwrite(fd, bytes, size, offset);
}

int FileOps::fsync(int fd) {
  return ::fsync(fd);
}

int FileOps::link(const char* existing, const char* name) {
  return ::link(existing, name);
}

int FileOps::unlink(const char* path) {
  return ::unlink(path);
}

}  // namespace dflockd::fencing
