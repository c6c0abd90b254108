#include "disk.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>

namespace dflockd::simulation {

namespace {

/// Closing one of ours must close nothing of the system's.
constexpr int kFirstDescriptor = 1 << 30;

/// What of a page is used.
constexpr std::size_t kSlotSize = 72;

}  // namespace

void Disk::process_ended() {
  alive_for_ = kForever;
  open_.clear();
  for (auto& [name, file] : cached_) file->locked = false;
}

void Disk::power_cut(bool damage) {
  process_ended();
  // A name that was not synced may have made it or not, and so may its removal.
  Directory survived = stored_;
  for (const auto& [name, file] : cached_) {
    if (!stored_.contains(name) && random_.one_in(2)) survived[name] = file;
  }
  for (const auto& [name, file] : stored_) {
    if (!cached_.contains(name) && random_.one_in(2)) survived.erase(name);
  }
  cached_ = stored_ = survived;
  for (auto& [name, file] : stored_) lose(*file, damage);
}

/// What a power cut does to a file.
void Disk::lose(File& file, bool damage) {
  for (std::size_t page = 0; page < kPages; ++page) {
    if (!std::exchange(file.dirty[page], false)) continue;
    if (random_.one_in(4)) continue;  // nothing of it was stored
    store(file, page, random_.one_in(3) ? kPageSize : random_.below(kSlotSize));
    file.damaged[page] = true;  // perhaps: a slot may have been half written when the power failed
  }
  if (damage && std::ranges::count(file.damaged, true) == 0) {
    const std::size_t page = random_.below(kPages);
    file.stored[page * kPageSize + random_.below(kSlotSize)] ^= std::byte{0x10};
    file.damaged[page] = true;
  }
  file.cached = file.stored;
  file.size = file.stored_size;
}

bool Disk::fails(int error) {
  if (alive_for_ != kForever && alive_for_ > 0) --alive_for_;
  if (alive_for_ != 0 && !random_.percent(failing_)) return false;
  ++faults_;
  errno = error;
  return true;
}

Disk::File* Disk::file_of(int fd) {
  const auto at = static_cast<std::size_t>(fd - kFirstDescriptor);
  return at < open_.size() ? open_[at].get() : nullptr;
}

void Disk::store(File& file, std::size_t page, std::size_t size) {
  const auto from = file.cached.begin() + static_cast<std::ptrdiff_t>(page * kPageSize);
  std::copy_n(from, size, file.stored.begin() + static_cast<std::ptrdiff_t>(page * kPageSize));
  file.stored_size = file.size;
  if (size == kPageSize) file.damaged[page] = false;
}

int Disk::open(const char* path, int flags) {
  if (fails(EIO)) return -1;
  if ((flags & O_DIRECTORY) != 0) {
    open_.push_back(nullptr);
  } else if (const auto found = cached_.find(path); found != cached_.end()) {
    open_.push_back(found->second);
  } else {
    errno = ENOENT;
    return -1;
  }
  return kFirstDescriptor + static_cast<int>(open_.size()) - 1;
}

int Disk::mkostemp(char* path_template, int /*flags*/) {
  if (fails(ENOSPC)) return -1;
  char* const letters = path_template + std::strlen(path_template) - 6;
  for (int i = 0; i < 6; ++i) letters[i] = static_cast<char>('a' + random_.below(26));
  open_.push_back(cached_[path_template] = std::make_shared<File>());
  return kFirstDescriptor + static_cast<int>(open_.size()) - 1;
}

int Disk::fstat(int fd, struct stat& status) {
  if (fails(EIO)) return -1;
  status = {};
  status.st_mode = S_IFREG;
  status.st_size = static_cast<off_t>(file_of(fd)->size);
  return 0;
}

int Disk::flock(int fd, int /*operation*/) {
  if (fails(ENOLCK)) return -1;
  if (std::exchange(file_of(fd)->locked, true)) {
    errno = EWOULDBLOCK;
    return -1;
  }
  return 0;
}

ssize_t Disk::pread(int fd, void* bytes, std::size_t size, off_t offset) {
  if (fails(EIO)) return -1;
  const File& file = *file_of(fd);
  const auto at = static_cast<std::size_t>(offset);
  if (at >= file.size) return 0;
  size = std::min(size, file.size - at);
  if (random_.one_in(8)) size = random_.between(1, size);
  std::memcpy(bytes, file.cached.data() + at, size);
  return static_cast<ssize_t>(size);
}

ssize_t Disk::pwrite(int fd, const void* bytes, std::size_t size, off_t offset) {
  if (fails(random_.one_in(2) ? ENOSPC : EIO)) return -1;
  File& file = *file_of(fd);
  const auto at = static_cast<std::size_t>(offset);
  size = std::min(size, file.cached.size() - at);
  if (random_.one_in(8)) size = random_.between(1, size);
  std::memcpy(file.cached.data() + at, bytes, size);
  file.size = std::max(file.size, at + size);
  for (std::size_t page = at / kPageSize; page <= (at + size - 1) / kPageSize; ++page) {
    file.dirty[page] = true;
  }
  return static_cast<ssize_t>(size);
}

int Disk::fsync(int fd) {
  const bool failed = fails(EIO);
  File* const file = file_of(fd);
  if (file == nullptr) {
    if (!failed) stored_ = cached_;
    return failed ? -1 : 0;
  }
  if (died()) return -1;  // what becomes of it is for the power to decide
  for (std::size_t page = 0; page < kPages; ++page) {
    if (!std::exchange(file->dirty[page], false)) continue;
    // As Linux does, a failed fsync forgets what is still to be written: it may never be.
    if (!failed || random_.one_in(2)) store(*file, page, kPageSize);
  }
  return failed ? -1 : 0;
}

int Disk::link(const char* existing, const char* name) {
  if (fails(ENOSPC)) return -1;
  if (cached_.contains(name)) {
    errno = EEXIST;
    return -1;
  }
  cached_[name] = cached_.at(existing);
  return 0;
}

int Disk::unlink(const char* path) {
  if (fails(EIO)) return -1;
  return cached_.erase(path) > 0 ? 0 : -1;
}

}  // namespace dflockd::simulation
