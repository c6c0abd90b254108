// A library to preload into the server, which makes its world worse:
//
//   DFLOCKD_SHIM_FILE, DFLOCKD_SHIM_FLAG   while the file FLAG exists, writing or syncing the file
//                                          FILE fails, with ENOSPC if FLAG is empty, else with EIO;
//                                          if it holds "hang", syncing lasts until FLAG is gone;
//                                          if a number, so many milliseconds longer;
//                                          if "hash", OpenSSL computes no digest instead
//   DFLOCKD_SHIM_CLOCK_OFFSET              seconds by which the wall clock is wrong
//   DFLOCKD_SHIM_SUSPENDED                 a file with the seconds for which the machine has been
//                                          suspended, if it is there
//   DFLOCKD_SHIM_MEMORY                    a file with the `MemoryFaults` that a test sets
//   DFLOCKD_SHIM_HASTE                     what the seconds of TCP keepalive are divided by
//   DFLOCKD_SHIM_THREADS                   how many threads there are to be had
//   DFLOCKD_SHIM_ABORTED                   which connection, from 1 on, was aborted in the backlog
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string_view>

#include <dlfcn.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "support/memory_faults.hpp"

using dflockd::test::MemoryFaults;

// What stands behind malloc(3) and its like in glibc. To look them up takes memory.
extern "C" {
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* old, size_t size);
void* __libc_memalign(size_t alignment, size_t size);
}

namespace {

/// The function that this library stands in front of.
template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

enum class Fault { kNone, kFull, kBroken, kHanging, kSlow, kNoDigest };

/// What is wrong with the file FILE now, and by how many milliseconds it is slow.
struct Disk {
  Fault fault = Fault::kNone;
  long slow_ms = 0;
};

Disk disk() {
  static const char* const flag = std::getenv("DFLOCKD_SHIM_FLAG");
  const int file = flag == nullptr ? -1 : ::open(flag, O_RDONLY | O_CLOEXEC);
  if (file < 0) return {};
  std::array<char, 8> word{};
  const ssize_t size = ::read(file, word.data(), word.size() - 1);
  ::close(file);
  if (size <= 0) return {Fault::kFull};
  if (const long slow_ms = std::atol(word.data()); slow_ms > 0) return {Fault::kSlow, slow_ms};
  const std::string_view said(word.data());
  if (said == "hash") return {Fault::kNoDigest};
  return {said == "hang" ? Fault::kHanging : Fault::kBroken};
}

bool is_the_file(int descriptor) {
  static const char* const file = std::getenv("DFLOCKD_SHIM_FILE");
  if (file == nullptr) return false;
  std::array<char, 4'096> path{};
  std::array<char, 32> link{};
  std::snprintf(link.data(), link.size(), "/proc/self/fd/%d", descriptor);
  if (::readlink(link.data(), path.data(), path.size() - 1) < 0) return false;
  return std::strcmp(path.data(), file) == 0;
}

/// Sets errno if an operation on `descriptor` is to fail.
bool fails(int descriptor) {
  const Fault now = disk().fault;
  if ((now != Fault::kFull && now != Fault::kBroken) || !is_the_file(descriptor)) return false;
  errno = now == Fault::kFull ? ENOSPC : EIO;
  return true;
}

/// Waits for a disk that hangs or is slow.
void wait_for_disk(int descriptor) {
  if (!is_the_file(descriptor)) return;
  constexpr timespec kMoment{.tv_sec = 0, .tv_nsec = 1'000'000};
  while (disk().fault == Fault::kHanging) ::nanosleep(&kMoment, nullptr);
  const long slow_ms = disk().slow_ms;
  const timespec longer{.tv_sec = slow_ms / 1'000, .tv_nsec = slow_ms % 1'000 * 1'000'000};
  ::nanosleep(&longer, nullptr);
}

/// For how long the machine has been suspended, in seconds.
long suspended() {
  static const char* const path = std::getenv("DFLOCKD_SHIM_SUSPENDED");
  const int file = path == nullptr ? -1 : ::open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  std::array<char, 16> digits{};
  const ssize_t size = ::read(file, digits.data(), digits.size() - 1);
  ::close(file);
  return size <= 0 ? 0 : std::atol(digits.data());
}

MemoryFaults* memory_faults = nullptr;

__attribute__((constructor)) void open_memory_faults() {
  const char* const path = std::getenv("DFLOCKD_SHIM_MEMORY");
  const int file = path == nullptr ? -1 : ::open(path, O_RDWR | O_CLOEXEC);
  if (file < 0) return;
  void* const shared =
      ::mmap(nullptr, sizeof(MemoryFaults), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  ::close(file);
  if (shared != MAP_FAILED) memory_faults = static_cast<MemoryFaults*>(shared);
}

/// Sets errno if an allocation is to fail.
bool no_memory() {
  if (memory_faults == nullptr || !memory_faults->strikes()) return false;
  errno = ENOMEM;
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
  wait_for_disk(descriptor);
  return fails(descriptor) ? -1 : real(descriptor);
}

int fdatasync(int descriptor) {
  static auto* const real = next<int(int)>("fdatasync");
  wait_for_disk(descriptor);
  return fails(descriptor) ? -1 : real(descriptor);
}

int EVP_Digest(const void* bytes, size_t size, unsigned char* digest, unsigned int* digest_size,
               const void* type, void* engine) {
  using Function = int(const void*, size_t, unsigned char*, unsigned int*, const void*, void*);
  static auto* const real = next<Function>("EVP_Digest");
  if (disk().fault == Fault::kNoDigest) return 0;
  return real(bytes, size, digest, digest_size, type, engine);
}

int clock_gettime(clockid_t clock, timespec* time) noexcept {
  static auto* const real = next<int(clockid_t, timespec*)>("clock_gettime");
  static const char* const offset = std::getenv("DFLOCKD_SHIM_CLOCK_OFFSET");
  const int result = real(clock, time);
  if (result == 0 && offset != nullptr && clock == CLOCK_REALTIME)
    time->tv_sec += std::atol(offset);
  if (result == 0 && clock == CLOCK_BOOTTIME) time->tv_sec += suspended();
  return result;
}

int setsockopt(int socket, int level, int option, const void* value, socklen_t size) noexcept {
  static auto* const real = next<int(int, int, int, const void*, socklen_t)>("setsockopt");
  static const char* const haste = std::getenv("DFLOCKD_SHIM_HASTE");
  if (haste == nullptr || level != IPPROTO_TCP ||
      (option != TCP_KEEPIDLE && option != TCP_KEEPINTVL)) {
    return real(socket, level, option, value, size);
  }
  const int seconds = std::max(1, *static_cast<const int*>(value) / std::atoi(haste));
  return real(socket, level, option, &seconds, sizeof seconds);
}

int accept(int listener, sockaddr* address, socklen_t* size) {
  static auto* const real = next<int(int, sockaddr*, socklen_t*)>("accept");
  static const char* const aborted = std::getenv("DFLOCKD_SHIM_ABORTED");
  static long accepted = 0;
  const int socket = real(listener, address, size);
  if (aborted == nullptr || socket < 0 || ++accepted != std::atol(aborted)) return socket;
  ::close(socket);
  errno = ECONNABORTED;
  return -1;
}

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*function)(void*),
                   void* argument) {
  static auto* const real = next<decltype(pthread_create)>("pthread_create");
  static const char* const most = std::getenv("DFLOCKD_SHIM_THREADS");
  static long created = 0;
  if (most != nullptr && created++ >= std::atol(most)) return EAGAIN;
  return real(thread, attributes, function, argument);
}

void* malloc(size_t size) noexcept {
  return no_memory() ? nullptr : __libc_malloc(size);
}

void* calloc(size_t count, size_t size) noexcept {
  return no_memory() ? nullptr : __libc_calloc(count, size);
}

void* realloc(void* old, size_t size) noexcept {
  return no_memory() ? nullptr : __libc_realloc(old, size);
}

void* aligned_alloc(size_t alignment, size_t size) noexcept {
  return no_memory() ? nullptr : __libc_memalign(alignment, size);
}

}  // extern "C"
