// A library to preload into the server, which makes its world worse:
//
//   DFLOCKD_SHIM_FILE, DFLOCKD_SHIM_FLAG   while the file FLAG exists, writing or syncing the file
//                                          FILE fails, with ENOSPC if FLAG is empty, else with EIO
//   DFLOCKD_SHIM_CLOCK_OFFSET              seconds by which the wall clock is wrong
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>

#include <dlfcn.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

namespace {

/// The function that this library stands in front of.
template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

/// Sets errno if an operation on `descriptor` is to fail.
bool fails(int descriptor) {
  static const char* const file = std::getenv("DFLOCKD_SHIM_FILE");
  static const char* const flag = std::getenv("DFLOCKD_SHIM_FLAG");
  struct stat status {};
  if (file == nullptr || flag == nullptr || ::stat(flag, &status) != 0) return false;
  std::array<char, 4'096> path{};
  const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
  if (::readlink(link.c_str(), path.data(), path.size() - 1) < 0) return false;
  if (std::strcmp(path.data(), file) != 0) return false;
  errno = status.st_size == 0 ? ENOSPC : EIO;
  return true;
}

}  // namespace

extern "C" {

ssize_t write(int descriptor, const void* bytes, size_t size) {
  static auto* const real = next<ssize_t(int, const void*, size_t)>("write");
  return fails(descriptor) ? -1 : real(descriptor, bytes, size);
}

ssize_t writev(int descriptor, const iovec* pieces, int count) {
  static auto* const real = next<ssize_t(int, const iovec*, int)>("writev");
  return fails(descriptor) ? -1 : real(descriptor, pieces, count);
}

ssize_t pwrite(int descriptor, const void* bytes, size_t size, off_t offset) {
  static auto* const real = next<ssize_t(int, const void*, size_t, off_t)>("pwrite");
  return fails(descriptor) ? -1 : real(descriptor, bytes, size, offset);
}

ssize_t pwrite64(int descriptor, const void* bytes, size_t size, off64_t offset) {
  static auto* const real = next<ssize_t(int, const void*, size_t, off64_t)>("pwrite64");
  return fails(descriptor) ? -1 : real(descriptor, bytes, size, offset);
}

int fsync(int descriptor) {
  static auto* const real = next<int(int)>("fsync");
  return fails(descriptor) ? -1 : real(descriptor);
}

int fdatasync(int descriptor) {
  static auto* const real = next<int(int)>("fdatasync");
  return fails(descriptor) ? -1 : real(descriptor);
}

int clock_gettime(clockid_t clock, timespec* time) noexcept {
  static auto* const real = next<int(clockid_t, timespec*)>("clock_gettime");
  static const char* const offset = std::getenv("DFLOCKD_SHIM_CLOCK_OFFSET");
  const int result = real(clock, time);
  if (result == 0 && offset != nullptr && clock == CLOCK_REALTIME)
    time->tv_sec += std::atol(offset);
  return result;
}

}  // extern "C"
