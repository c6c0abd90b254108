// The fence state file: reserves fences on disk before they are granted, so that no restart, crash,
// power cut or step of the clock ever repeats or lowers a fence.
//
//   FenceFile file = FenceFile::open(path, wall_clock_in_nanoseconds);
//   FenceFile::Range fences = file.range();        // grant these; before they run out:
//   if (!file.reserve(step)) fences.end = file.range().end;
//
// The file holds a limit in each of two checksummed slots (`fence_slot.hpp` has the layout),
// written in turn, each write synced before the next. Whatever interrupts a write leaves the other
// slot, also if a write before it was interrupted: `open` begins with the newer slot, which may be
// known to the system and not be on the disk.
//
// Why no fence comes twice: fences are granted below the newer slot's limit only, once it is
// synced. How many a reservation takes may vary; the step in a slot bounds it. It is not what was
// reserved with that slot but the most that may come next, written before that comes. So in
// operation the slots' limits never differ by more than the step written in either: `open` raises
// both to the same limit, with the most that `reserve` will take as their step, and `reserve`
// raises the older one to at most that above the other. Therefore
//   - with both slots intact, every fence granted was below the greater of their limits;
//   - with one intact, whichever it is, every fence granted was below its limit plus its step;
//   - with none, nothing is known, and `open` refuses the file rather than start afresh.
// Until `open` has raised both slots, it has granted nothing, and what earlier runs granted is
// bounded by what they wrote: by the slot that it keeps until the other is synced, with the step of
// that run, which may be another. A failed reservation may be on the disk nevertheless, with a
// limit above that of the next attempt: nothing was granted from it, and it is within the step of
// the slot kept. Fences that were reserved and not granted are skipped. That is no loss: there are
// 2^64.
//
// Not thread-safe: one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <stdexcept>
#include <system_error>

#include "base/descriptor.hpp"
#include "fencing/fence_slot.hpp"
#include "fencing/file_ops.hpp"

namespace dflockd::fencing {

/// Why a fence state file cannot be used. `what()` is one line for an operator: the file, what is
/// wrong with it, what to do.
class FenceFileError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// How many fences to reserve.
struct FenceSteps {
  static constexpr std::uint64_t kFirst = std::uint64_t{1} << 21;
  static constexpr std::uint64_t kMost = std::uint64_t{1} << 26;

  std::uint64_t first = kFirst;  ///< by `FenceFile::open`; at least 1
  std::uint64_t most = kMost;    ///< by `FenceFile::reserve` at a time; at least 1
};

class FenceFile {
 public:
  /// Fences from `first` up to, not including, `end`.
  struct Range {
    std::uint64_t first = 0;
    std::uint64_t end = 0;
  };

  /// Opens the file for this process alone and durably reserves `steps.first` fences, none below
  /// `at_least`, none that an earlier run can have granted. Blocks for a few fsync(2) calls.
  ///
  /// A missing file is created with mode 0600, whole or not at all: it is written under a temporary
  /// name in the same directory (the path, a dot and six characters; a crash in that moment may
  /// leave it behind, and it may be deleted) and then linked to its own. A symbolic link to an
  /// existing file is followed; one that leads nowhere is an error. The lock is flock(2)'s and
  /// lasts as long as the object; it is not passed on through execve(2).
  ///
  /// Throws FenceFileError if the file is in use by another server, is not a regular file, is not a
  /// fence state file or has both slots damaged (it is left as it is), if fences would pass 2^64 -
  /// 1, or if an operation fails: permissions, missing directory, full disk, I/O error. After an
  /// error the file is usable as before. `ops` must outlive the object.
  [[nodiscard]] static FenceFile open(const std::filesystem::path& path, std::uint64_t at_least,
                                      const FenceSteps& steps = {},
                                      FileOps& ops = FileOps::system());

  /// Looks at an existing file without locking or changing it, and throws FenceFileError if `open`
  /// would refuse what is in it. The file may be in use by a server.
  static void check(const std::filesystem::path& path, FileOps& ops = FileOps::system());

  /// What may be granted: `open` sets both ends, `reserve` raises the end.
  [[nodiscard]] Range range() const { return range_; }

  /// Whether `open` found one of the slots damaged, which a power cut may do. It has written both
  /// again; fences were skipped, none was lost.
  [[nodiscard]] bool was_damaged() const { return was_damaged_; }

  /// Raises the end of the range durably by `step` (at least 1), or by the most that `open` was
  /// given. Blocks for one fsync(2). On an error the range stays as it is, and a later call tries
  /// again: whatever the system reported (ENOSPC, EIO), or EOVERFLOW when fences would pass 2^64 -
  /// 1. What it throws, if OpenSSL or the system has no memory, is such an error too.
  [[nodiscard]] std::error_code reserve(std::uint64_t step);

 private:
  /// `newest` is what the newest slot says; `store` leaves the slot at `kept_at` alone.
  FenceFile(FileOps& ops, base::Descriptor file, const Slot& newest, std::size_t kept_at,
            std::uint64_t most);

  [[nodiscard]] std::error_code store(std::uint64_t limit);

  FileOps* ops_;
  base::Descriptor file_;
  Slot newest_;
  std::size_t kept_at_;  ///< the slot that is certainly on the disk
  std::uint64_t most_;   ///< that is reserved at a time
  Range range_;
  bool was_damaged_ = false;
};

}  // namespace dflockd::fencing
