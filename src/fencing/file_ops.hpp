// The system calls of a fence file, in one place where tests can make them fail.
//
// Every function does what the system call of its name does: -1 and `errno` on failure, EINTR and
// short transfers included; section 2 of the man pages is their contract (mkostemp(3) for one). The
// class itself calls the system and has no state, so that any number of threads may share it; a
// test derives from it and overrides what should fail.
#pragma once

#include <cstddef>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>

namespace dflockd::fencing {

class FileOps {
 public:
  /// The operations of the system. They live as long as the process.
  [[nodiscard]] static FileOps& system();

  FileOps() = default;
  FileOps(const FileOps&) = delete;
  FileOps& operator=(const FileOps&) = delete;
  virtual ~FileOps() = default;

  virtual int open(const char* path, int flags);
  virtual int mkostemp(char* path_template, int flags);
  virtual int fstat(int fd, struct stat& status);
  virtual int flock(int fd, int operation);
  virtual ssize_t pread(int fd, void* bytes, std::size_t size, off_t offset);
  virtual ssize_t pwrite(int fd, const void* bytes, std::size_t size, off_t offset);
  virtual int fsync(int fd);
  virtual int link(const char* existing, const char* name);
  virtual int unlink(const char* path);
};

}  // namespace dflockd::fencing
