#include "fencing/fence_file.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <sys/file.h>

namespace dflockd::fencing {
namespace {

using SlotPair = std::array<std::optional<Slot>, kSlotCount>;

constexpr std::string_view kFreshStart =
    "if the system's clock is right, move the file away: fences then start from the clock";
constexpr std::string_view kLetUsCreateIt =
    "remove it and let the server create the file: a container needs its directory mounted, not "
    "the file; fences then start from the system's clock";
constexpr std::string_view kCheckDisk = "check the disk and its free space, then start again";

/// A state file by its name, and how to get at it.
struct Place {
  const std::filesystem::path& path;
  FileOps& ops;
};

[[noreturn]] void refuse(const Place& place, std::string_view problem, std::string_view advice) {
  std::string message = "fence state file '" + place.path.string() + "': ";
  message.append(problem).append("; ").append(advice);
  throw FenceFileError(message);
}

[[noreturn]] void refuse(const Place& place, std::string_view failed, std::error_code why,
                         std::string_view advice) {
  refuse(place, std::string(failed) + ": " + why.message(), advice);
}

std::error_code last_error() {
  return {errno, std::generic_category()};
}

/// Makes a system call until no signal interrupts it.
template <class Call>
auto uninterrupted(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

std::error_code write_all(FileOps& ops, int fd, std::span<const std::byte> bytes,
                          std::size_t offset) {
  while (!bytes.empty()) {
    const ssize_t written = uninterrupted(
        [&] { return ops.pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset)); });
    if (written < 0) return last_error();
    if (written == 0) return std::make_error_code(std::errc::io_error);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    offset += static_cast<std::size_t>(written);
  }
  return {};
}

std::error_code read_all(FileOps& ops, int fd, std::span<std::byte> bytes, std::size_t offset) {
  while (!bytes.empty()) {
    const ssize_t read = uninterrupted(
        [&] { return ops.pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset)); });
    if (read < 0) return last_error();
    if (read == 0) return std::make_error_code(std::errc::io_error);
    bytes = bytes.subspan(static_cast<std::size_t>(read));
    offset += static_cast<std::size_t>(read);
  }
  return {};
}

std::error_code sync(FileOps& ops, int fd) {
  if (uninterrupted([&] { return ops.fsync(fd); }) != 0) return last_error();
  return {};
}

/// `from + step`, or nothing beyond 64 bits.
std::optional<std::uint64_t> raised(std::uint64_t from, std::uint64_t step) {
  if (from > std::numeric_limits<std::uint64_t>::max() - step) return std::nullopt;
  return from + step;
}

std::uint64_t raised_or_refuse(const Place& place, std::uint64_t from, std::uint64_t step) {
  const std::optional<std::uint64_t> sum = raised(from, step);
  if (!sum) {
    refuse(
        place,
        "no " + std::to_string(step) + " fences are left from " + std::to_string(from) + " to 2^64",
        "check the system's clock and whether this is the right file");
  }
  return *sum;
}

/// Removes a temporary file at the end of the scope.
class TemporaryName {
 public:
  TemporaryName(FileOps& ops, const std::string& path) : ops_(ops), path_(path) {}
  TemporaryName(const TemporaryName&) = delete;
  TemporaryName& operator=(const TemporaryName&) = delete;
  /// Failing to remove it does no harm: it is never read.
  ~TemporaryName() { ops_.unlink(path_.c_str()); }

 private:
  FileOps& ops_;
  const std::string& path_;
};

/// Creates the file, durable but for its directory entry, with `limit` in both slots. Does nothing
/// if somebody else has created it by now.
void create(const Place& place, std::uint64_t limit, std::uint64_t step) {
  FileOps& ops = place.ops;
  std::string temporary = place.path.string() + ".XXXXXX";
  const base::Descriptor file(ops.mkostemp(temporary.data(), O_CLOEXEC));
  if (!file.is_open()) {
    refuse(place, "cannot create it", last_error(), "its directory must exist and be writable");
  }
  const TemporaryName remove_at_end(ops, temporary);

  std::array<std::byte, kFileSize> image{};
  for (std::size_t number = 0; number < kSlotCount; ++number) {
    const Slot slot{.sequence = number + 1, .limit = limit, .step = step};
    std::ranges::copy(encode(slot), image.begin() + slot_offset(number));
  }
  std::error_code error = write_all(ops, file.get(), image, 0);
  if (!error) error = sync(ops, file.get());
  if (error) refuse(place, "cannot create it", error, kCheckDisk);

  if (ops.link(temporary.c_str(), place.path.c_str()) != 0 && errno != EEXIST) {
    refuse(place, "cannot create it", last_error(),
           "its directory must be writable and on a file system with hard links");
  }
}

/// Opens an existing file, or returns nothing with the reason in `errno`.
base::Descriptor open_existing(const Place& place, int access = O_RDWR) {
  // Opening what turns out to be a FIFO or a terminal must not block or do anything.
  const int flags = access | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  return base::Descriptor(uninterrupted([&] { return place.ops.open(place.path.c_str(), flags); }));
}

[[noreturn]] void refuse_unopened(const Place& place) {
  refuse(place, "cannot open it", last_error(),
         "it must be a file that the server may read and write");
}

base::Descriptor open_or_create(const Place& place, std::uint64_t limit, std::uint64_t step) {
  base::Descriptor file = open_existing(place);
  if (!file.is_open() && errno == ENOENT) {
    create(place, limit, step);
    file = open_existing(place);
  }
  if (!file.is_open()) refuse_unopened(place);
  return file;
}

/// A file of another size was never written by `create`, which makes all of it or nothing.
void check_kind_and_size(const Place& place, const base::Descriptor& file) {
  struct stat status {};
  if (place.ops.fstat(file.get(), status) != 0) {
    refuse(place, "cannot look at it", last_error(), kCheckDisk);
  }
  if (!S_ISREG(status.st_mode)) {
    refuse(place, "is not a regular file", "name a file of its own for each server");
  }
  if (status.st_size == 0) {
    refuse(place, "is empty, as a mount or touch(1) makes it", kLetUsCreateIt);
  }
  if (status.st_size != static_cast<off_t>(kFileSize)) {
    refuse(place,
           "is damaged or something else: it has " + std::to_string(status.st_size) +
               " bytes, not " + std::to_string(kFileSize),
           kFreshStart);
  }
}

void lock(const Place& place, const base::Descriptor& file) {
  if (uninterrupted([&] { return place.ops.flock(file.get(), LOCK_EX | LOCK_NB); }) == 0) return;
  if (errno == EWOULDBLOCK) {
    refuse(place, "another server is using it", "stop that one, or name another file");
  }
  refuse(place, "cannot lock it", last_error(), "put it on a file system with flock(2)");
}

/// Makes the file's directory entry durable. Done at every start: the one that created the file may
/// have ended before it came to that.
void sync_directory(const Place& place) {
  const std::filesystem::path parent = place.path.parent_path();
  const char* const name = parent.empty() ? "." : parent.c_str();
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  const base::Descriptor directory(uninterrupted([&] { return place.ops.open(name, kFlags); }));
  const std::error_code error =
      directory.is_open() ? sync(place.ops, directory.get()) : last_error();
  if (error) {
    refuse(place, "cannot sync its directory", error,
           "the server must be able to read the directory, and its disk must work");
  }
}

/// Reads the slots. At least one of them is intact.
SlotPair read_slots(const Place& place, const base::Descriptor& file) {
  SlotPair slots;
  for (std::size_t number = 0; number < kSlotCount; ++number) {
    SlotBytes bytes{};
    const std::error_code error = read_all(place.ops, file.get(), bytes, slot_offset(number));
    if (error) refuse(place, "cannot read it", error, kCheckDisk);
    slots[number] = decode(bytes);
    if (slots[number] && slots[number]->version != kFormatVersion) {
      refuse(place, "has format version " + std::to_string(slots[number]->version),
             "start the version of the server that wrote it, or a later one");
    }
  }
  if (!slots[0] && !slots[1]) {
    refuse(place, "is damaged in both slots or something else", kFreshStart);
  }
  return slots;
}

std::size_t newest(const SlotPair& slots) {
  if (!slots[0]) return 1;
  if (!slots[1]) return 0;
  return slots[0]->sequence > slots[1]->sequence ? 0 : 1;
}

/// The first fence that no earlier run can have granted; see the header.
std::uint64_t first_unused(const Place& place, const SlotPair& slots) {
  if (slots[0] && slots[1]) return std::max(slots[0]->limit, slots[1]->limit);
  const Slot& intact = *slots[newest(slots)];
  return raised_or_refuse(place, intact.limit, intact.step);
}

}  // namespace

FenceFile FenceFile::open(const std::filesystem::path& path, std::uint64_t at_least,
                          const FenceSteps& steps, FileOps& ops) {
  assert(steps.first > 0 && steps.most > 0);
  const Place place{path, ops};
  // Checked before a file can be created that would refuse every later start.
  raised_or_refuse(place, at_least, steps.first);

  base::Descriptor descriptor = open_or_create(place, at_least, steps.most);
  check_kind_and_size(place, descriptor);
  lock(place, descriptor);
  sync_directory(place);

  const SlotPair slots = read_slots(place, descriptor);
  const std::uint64_t first = std::max(first_unused(place, slots), at_least);
  const std::uint64_t end = raised_or_refuse(place, first, steps.first);

  // What was read of the newer slot may not be on the disk: its writer may have ended before
  // the sync, or the sync failed. Until it is, the older slot is the one to keep. With one damaged
  // it is the intact one, of course.
  const std::size_t newest_at = newest(slots);
  const bool both_intact = slots[0] && slots[1];
  const std::size_t kept_at = both_intact ? 1 - newest_at : newest_at;
  FenceFile file(ops, std::move(descriptor), *slots[newest_at], kept_at, steps.most);
  for (std::size_t stored = 0; stored < kSlotCount; ++stored) {
    if (const std::error_code error = file.store(end)) {
      refuse(place, "cannot write it", error, kCheckDisk);
    }
  }
  file.range_ = {first, end};
  file.was_damaged_ = !slots[0] || !slots[1];
  return file;
}

void FenceFile::check(const std::filesystem::path& path, FileOps& ops) {
  const Place place{path, ops};
  const base::Descriptor descriptor = open_existing(place, O_RDONLY);
  if (!descriptor.is_open()) refuse_unopened(place);
  check_kind_and_size(place, descriptor);
  static_cast<void>(first_unused(place, read_slots(place, descriptor)));
}

FenceFile::FenceFile(FileOps& ops, base::Descriptor file, const Slot& newest, std::size_t kept_at,
                     std::uint64_t most)
    : ops_(&ops), file_(std::move(file)), newest_(newest), kept_at_(kept_at), most_(most) {}

std::error_code FenceFile::reserve(std::uint64_t step) {
  assert(step > 0);
  // The slot that is kept promises no more.
  const std::optional<std::uint64_t> end = raised(range_.end, std::min(step, most_));
  if (!end) return std::make_error_code(std::errc::value_too_large);
  if (const std::error_code error = store(*end)) return error;
  range_.end = *end;
  return {};
}

/// Writes `limit` durably over the slot that is not kept, which thereby becomes the newest and the
/// one to keep. After an error the kept slot is what it was, and the next call writes the same slot
/// again: all of it, because the system may have forgotten after a failed fsync(2) what it had
/// still to write.
std::error_code FenceFile::store(std::uint64_t limit) {
  assert(file_.is_open() && limit >= newest_.limit);
  const Slot slot{.sequence = newest_.sequence + 1, .limit = limit, .step = most_};
  const std::size_t number = 1 - kept_at_;
  std::error_code error = write_all(*ops_, file_.get(), encode(slot), slot_offset(number));
  if (!error) error = sync(*ops_, file_.get());
  if (error) return error;
  newest_ = slot;
  kept_at_ = number;
  return {};
}

}  // namespace dflockd::fencing
