// A disk in memory with one directory and one file in it, for what writes a fence file: operations
// fail as they are told, and a power cut loses what was not synced, or half of it.
//
//   SimulatedDisk disk;
//   disk.plan({.after = 3, .kind = Fault::Kind::kPowerOff});
//   FenceFile::open(SimulatedDisk::kPath, 1, 1, disk);   // fails at its fourth operation
//   disk.cut_power(choice);                              // choice: what it has left
//
// What a process reads is what it wrote, synced or not, as long as the power is on, even after a
// failed fsync(2), which may have lost it (fsync(2) of Linux).
//
// Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/descriptor.hpp"
#include "fencing/file_ops.hpp"

namespace dflockd::test {

/// What goes wrong with an operation.
struct Fault {
  enum class Kind : std::uint8_t {
    kError,     ///< it fails; an fsync(2) has written what `choice` says
    kShort,     ///< it transfers less than it should
    kTorn,      ///< a write fails, but half of it was done
    kKilled,    ///< the process ends, in the middle of a write: it and all that follow fail
    kPowerOff,  ///< the same, and the power with it
  };

  std::size_t after = 0;  ///< how many operations go well before
  Kind kind = Kind::kError;
  int error = 0;            ///< `errno` for `kError` and `kTorn`
  std::uint8_t choice = 0;  ///< two bits a write: nothing of it, all, its first or its second half
};

class SimulatedDisk : public fencing::FileOps {
 public:
  static constexpr std::string_view kPath = "/disk/fences";

  SimulatedDisk();

  /// Puts the file there, synced. Nothing removes it.
  void put(std::string bytes);
  /// What is in the file, or nothing if there is none.
  [[nodiscard]] std::optional<std::string> content() const;
  /// Whether the disk has all that is in the file.
  [[nodiscard]] bool is_synced() const { return file_ == nullptr || file_->seen == file_->on_disk; }
  /// Turns the bits of one byte of the file, on the disk and wherever it is read.
  void damage(std::size_t offset);

  void plan(const Fault& fault) { faults_.push_back(fault); }
  /// How many of the faults that were planned have happened, but for those that a caller must not
  /// notice: less was transferred, or a signal interrupted what is to be made again.
  [[nodiscard]] std::size_t noticeable_faults() const { return noticeable_faults_; }
  /// Whether no operation succeeds until the next start.
  [[nodiscard]] bool is_down() const { return down_ != Down::kNot; }

  [[nodiscard]] bool is_off() const { return down_ == Down::kPower; }

  /// Starts the process again; the power must be on. Forgets the faults that are still planned.
  void restart();
  /// Cuts the power, if it is on, and starts again. `choice` is what it leaves of each write, as in
  /// a fault; by its first bit, of a new name too.
  void cut_power(std::uint8_t choice);

  int open(const char* path, int flags) override;
  int mkostemp(char* path_template, int flags) override;
  int fstat(int fd, struct stat& status) override;
  int flock(int fd, int operation) override;
  ssize_t pread(int fd, void* bytes, std::size_t size, off_t offset) override;
  ssize_t pwrite(int fd, const void* bytes, std::size_t size, off_t offset) override;
  int fsync(int fd) override;
  int link(const char* existing, const char* name) override;
  int unlink(const char* path) override;

 protected:
  /// What goes wrong with the operation that begins. `repeated_if_interrupted`: its caller repeats
  /// it.
  [[nodiscard]] virtual std::optional<Fault> next_fault(bool repeated_if_interrupted);

 private:
  struct Write {
    std::size_t offset;
    std::string bytes;
  };
  struct File {
    std::string seen;     ///< by processes
    std::string on_disk;  ///< after a power cut
    std::vector<Write> unsynced;
  };
  struct Opened {
    std::shared_ptr<File> file;  ///< null: the directory
    bool writable = false;
  };
  enum class Down : std::uint8_t { kNot, kProcess, kPower };

  [[nodiscard]] bool fails(bool repeated_if_interrupted);
  [[nodiscard]] int new_descriptor(Opened opened);
  static void write(std::string& content, const Write& write);
  static void sync_some(File& file, std::uint8_t choice);

  base::Descriptor null_;         ///< duplicates of it are the descriptors given out
  std::map<int, Opened> opened_;  ///< the latest of each number: closing is not seen
  std::shared_ptr<File> file_;    ///< by its name; null: none
  bool name_is_on_disk_ = false;  ///< of `file_`
  std::shared_ptr<File> temporary_;
  std::vector<Fault> faults_;  ///< the first is next
  std::size_t noticeable_faults_ = 0;
  Down down_ = Down::kNot;
};

}  // namespace dflockd::test
