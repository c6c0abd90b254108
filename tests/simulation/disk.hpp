// A simulated disk with one directory: files in the page cache and on the platter, operations that
// fail, and crashes that lose or tear what was not synced.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "fencing/file_ops.hpp"
#include "random.hpp"

namespace dflockd::simulation {

class Disk final : public fencing::FileOps {
 public:
  explicit Disk(std::uint64_t seed) : random_(seed) {}

  /// From now on so many of a hundred operations fail.
  void fail(unsigned percent) { failing_ = percent; }
  /// After `operations` more none succeeds, until the next crash.
  void die_after(std::uint64_t operations) { alive_for_ = operations; }
  [[nodiscard]] bool died() const { return alive_for_ == 0; }
  /// How many operations have failed.
  [[nodiscard]] std::uint64_t faults() const { return faults_; }

  /// The process ends: its descriptors and locks are gone. What it has written is read on.
  void process_ended();
  /// So does the power: what was not synced may be lost, or torn. `damage`: and a page that was
  /// synced may be damaged; never while another one is torn or damaged, or both may be lost.
  void power_cut(bool damage);

  int open(const char* path, int flags) override;
  int mkostemp(char* path_template, int flags) override;
  int fstat(int fd, struct stat& status) override;
  int flock(int fd, int operation) override;
  ssize_t pread(int fd, void* bytes, std::size_t size, off_t offset) override;
  ssize_t pwrite(int fd, const void* bytes, std::size_t size, off_t offset) override;
  int fsync(int fd) override;
  int link(const char* existing, const char* name) override;
  int unlink(const char* path) override;

 private:
  static constexpr std::size_t kPageSize = 4096;
  static constexpr std::size_t kPages = 2;
  static constexpr std::uint64_t kForever = UINT64_MAX;

  struct File {
    std::array<std::byte, kPages * kPageSize> cached{};
    std::array<std::byte, kPages * kPageSize> stored{};
    std::array<bool, kPages> dirty{};
    std::array<bool, kPages> damaged{};  ///< or torn, until written again
    std::size_t size = 0;
    std::size_t stored_size = 0;
    bool locked = false;
  };
  using Directory = std::map<std::string, std::shared_ptr<File>>;

  bool fails(int error);
  [[nodiscard]] File* file_of(int fd);
  static void store(File& file, std::size_t page, std::size_t size);
  void lose(File& file, bool damage);

  Random random_;
  unsigned failing_ = 0;
  std::uint64_t alive_for_ = kForever;
  std::uint64_t faults_ = 0;
  Directory cached_;
  Directory stored_;
  /// By descriptor, which count from a number that the system never gives; null for the directory.
  std::vector<std::shared_ptr<File>> open_;
};

}  // namespace dflockd::simulation
