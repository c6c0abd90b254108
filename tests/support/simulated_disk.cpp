#include "support/simulated_disk.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace dflockd::test {

namespace {

constexpr std::string_view kDirectory = "/disk";
constexpr std::string_view kTemplateEnd = "XXXXXX";

/// A fault of whoever uses the disk, which no fence file should have.
void require(bool holds, const char* what) {
  if (!holds) throw std::logic_error(std::string("not so: ") + what);
}

std::size_t half(std::size_t size) {
  return size > 1 ? size / 2 : size;
}

}  // namespace

SimulatedDisk::SimulatedDisk() : null_(::open("/dev/null", O_RDONLY | O_CLOEXEC)) {
  require(null_.is_open(), "there is a /dev/null");
}

void SimulatedDisk::put(std::string bytes) {
  file_ = std::make_shared<File>();
  file_->seen = bytes;
  file_->on_disk = std::move(bytes);
  name_is_on_disk_ = true;
}

std::optional<std::string> SimulatedDisk::content() const {
  return file_ == nullptr ? std::nullopt : std::optional(file_->seen);
}

void SimulatedDisk::damage(std::size_t offset) {
  for (std::string* const content : {&file_->seen, &file_->on_disk}) {
    if (offset < content->size()) (*content)[offset] = static_cast<char>(~(*content)[offset]);
  }
}

void SimulatedDisk::restart() {
  faults_.clear();
  temporary_ = nullptr;
  down_ = Down::kNot;
}

void SimulatedDisk::cut_power(std::uint8_t choice) {
  restart();
  if (file_ == nullptr) return;
  sync_some(*file_, choice);
  file_->seen = file_->on_disk;
  const bool loses_name = (choice & 1U) != 0;
  if (!name_is_on_disk_ && loses_name) file_ = nullptr;
}

// --- Faults ---

std::optional<Fault> SimulatedDisk::next_fault(bool repeated_if_interrupted) {
  if (is_down()) return Fault{.kind = Fault::Kind::kError, .error = EIO};
  if (faults_.empty()) return std::nullopt;
  if (faults_.front().after > 0) {
    --faults_.front().after;
    return std::nullopt;
  }
  const Fault fault = faults_.front();
  faults_.erase(faults_.begin());
  const bool interrupted = fault.kind == Fault::Kind::kError && fault.error == EINTR;
  if (fault.kind != Fault::Kind::kShort && !(interrupted && repeated_if_interrupted)) {
    ++noticeable_faults_;
  }
  if (fault.kind == Fault::Kind::kKilled) down_ = Down::kProcess;
  if (fault.kind == Fault::Kind::kPowerOff) down_ = Down::kPower;
  return fault;
}

/// For operations that transfer nothing.
bool SimulatedDisk::fails(bool repeated_if_interrupted) {
  const std::optional<Fault> fault = next_fault(repeated_if_interrupted);
  if (!fault || fault->kind == Fault::Kind::kShort) return false;
  errno = fault->error != 0 ? fault->error : EIO;
  return true;
}

// --- Operations ---

int SimulatedDisk::new_descriptor(Opened opened) {
  const int fd = ::fcntl(null_.get(), F_DUPFD_CLOEXEC, 3);
  require(fd >= 0, "there are descriptors");
  opened_[fd] = std::move(opened);
  return fd;
}

int SimulatedDisk::open(const char* path, int flags) {
  if (fails(true)) return -1;
  if (path == kDirectory) return new_descriptor({});
  require(path == kPath, "only the file and its directory are opened");
  if (file_ == nullptr) {
    errno = ENOENT;
    return -1;
  }
  return new_descriptor({.file = file_, .writable = (flags & O_ACCMODE) == O_RDWR});
}

int SimulatedDisk::mkostemp(char* path_template, int /*flags*/) {
  if (fails(false)) return -1;
  const std::string_view path(path_template);
  require(path.starts_with(kDirectory) && path.ends_with(kTemplateEnd), "a template is one");
  std::memcpy(path_template + path.size() - kTemplateEnd.size(), "AAAAAA", kTemplateEnd.size());
  temporary_ = std::make_shared<File>();
  return new_descriptor({.file = temporary_, .writable = true});
}

int SimulatedDisk::fstat(int fd, struct stat& status) {
  if (fails(false)) return -1;
  status.st_mode = S_IFREG | S_IRUSR | S_IWUSR;
  status.st_size = static_cast<off_t>(opened_.at(fd).file->seen.size());
  return 0;
}

int SimulatedDisk::flock(int /*fd*/, int /*operation*/) {
  return fails(true) ? -1 : 0;
}

ssize_t SimulatedDisk::pread(int fd, void* bytes, std::size_t size, off_t offset) {
  const std::optional<Fault> fault = next_fault(true);
  if (fault && fault->kind != Fault::Kind::kShort) {
    errno = fault->error != 0 ? fault->error : EIO;
    return -1;
  }
  const std::string& content = opened_.at(fd).file->seen;
  const std::size_t begin = std::min(static_cast<std::size_t>(offset), content.size());
  std::size_t there = std::min(size, content.size() - begin);
  if (fault) there = half(there);
  std::memcpy(bytes, content.data() + begin, there);
  return static_cast<ssize_t>(there);
}

ssize_t SimulatedDisk::pwrite(int fd, const void* bytes, std::size_t size, off_t offset) {
  const Opened& opened = opened_.at(fd);
  require(opened.writable, "only what is open for writing is written");
  const std::optional<Fault> fault = next_fault(true);
  std::size_t written = size;
  if (fault) written = fault->kind == Fault::Kind::kError ? 0 : half(size);
  if (written > 0) {
    const Write done{.offset = static_cast<std::size_t>(offset),
                     .bytes = std::string(static_cast<const char*>(bytes), written)};
    write(opened.file->seen, done);
    opened.file->unsynced.push_back(done);
  }
  if (!fault || fault->kind == Fault::Kind::kShort) return static_cast<ssize_t>(written);
  errno = fault->error != 0 ? fault->error : EIO;
  return -1;
}

int SimulatedDisk::fsync(int fd) {
  const Opened& opened = opened_.at(fd);
  const std::optional<Fault> fault = next_fault(true);
  const bool done = !fault || fault->kind == Fault::Kind::kShort;
  if (!done) {
    errno = fault->error != 0 ? fault->error : EIO;
    const bool reported = !is_down() && errno != EINTR && opened.file != nullptr;
    if (reported) sync_some(*opened.file, fault->choice);
    return -1;
  }
  if (opened.file == nullptr) {
    name_is_on_disk_ = name_is_on_disk_ || file_ != nullptr;
    return 0;
  }
  for (const Write& unsynced : opened.file->unsynced) write(opened.file->on_disk, unsynced);
  opened.file->unsynced.clear();
  return 0;
}

int SimulatedDisk::link(const char* /*existing*/, const char* name) {
  if (fails(false)) return -1;
  require(name == kPath && temporary_ != nullptr, "the temporary file gets the name of the file");
  if (file_ != nullptr) {
    errno = EEXIST;
    return -1;
  }
  file_ = temporary_;
  name_is_on_disk_ = false;
  return 0;
}

int SimulatedDisk::unlink(const char* path) {
  if (fails(false)) return -1;
  require(path != kPath, "the file itself is never removed");
  temporary_ = nullptr;
  return 0;
}

// --- What gets to the disk ---

void SimulatedDisk::write(std::string& content, const Write& write) {
  const std::size_t end = write.offset + write.bytes.size();
  if (content.size() < end) content.resize(end);
  content.replace(write.offset, write.bytes.size(), write.bytes);
}

/// Lets what `choice` says of the writes reach the disk, and forgets the rest.
void SimulatedDisk::sync_some(File& file, std::uint8_t choice) {
  for (const Write& unsynced : file.unsynced) {
    const std::size_t middle = unsynced.bytes.size() / 2;
    const unsigned int part = choice & 3U;
    choice = static_cast<std::uint8_t>((choice >> 2U) | (choice << 6U));
    if (part == 1) write(file.on_disk, unsynced);
    if (part == 2) write(file.on_disk, {unsynced.offset, unsynced.bytes.substr(0, middle)});
    if (part == 3) write(file.on_disk, {unsynced.offset + middle, unsynced.bytes.substr(middle)});
  }
  file.unsynced.clear();
}

}  // namespace dflockd::test
