// The disk of a simulated world: what goes wrong with it, and what a power cut leaves, is chance.
#pragma once

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "random.hpp"
#include "support/simulated_disk.hpp"

namespace dflockd::simulation {

class Disk final : public test::SimulatedDisk {
 public:
  explicit Disk(std::uint64_t seed) : random_(seed) {}

  /// From now on so many of a hundred operations fail.
  void fail(unsigned percent) { failing_ = percent; }
  /// After `operations` more none succeeds, until the process has ended; UINT64_MAX: all do.
  void die_after(std::uint64_t operations) { alive_for_ = operations; }
  [[nodiscard]] bool died() const { return is_down(); }
  /// How many operations have failed.
  [[nodiscard]] std::uint64_t faults() const { return noticeable_faults() + refused_; }

  /// The process ends. What it has written is read on.
  void process_ended() {
    alive_for_ = UINT64_MAX;
    rewritten_ = false;
    restart();
  }
  /// So does the power: what was not synced may be lost, or torn. `damages`: and a slot that was
  /// synced may be damaged; never while another one is torn or damaged, or both may be lost.
  void power_cut(bool damages) {
    process_ended();
    harmed_ = harmed_ || !is_synced();
    cut_power(any_byte());
    if (!damages || harmed_ || !content()) return;
    const std::size_t page = random_.one_in(4) ? random_.below(2) : written_page_;
    damage(page * kPageSize + random_.below(kSlotSize));
    harmed_ = true;
  }

  ssize_t pwrite(int fd, const void* bytes, std::size_t size, off_t offset) override {
    const ssize_t written = SimulatedDisk::pwrite(fd, bytes, size, offset);
    rewritten_ = written == static_cast<ssize_t>(size);
    written_page_ = static_cast<std::size_t>(offset) / kPageSize;
    return written;
  }
  int fsync(int fd) override {
    const int result = SimulatedDisk::fsync(fd);
    if (std::exchange(rewritten_, false) && result == 0) harmed_ = false;
    return result;
  }

 protected:
  std::optional<test::Fault> next_fault(bool repeated_if_interrupted) override {
    using Kind = test::Fault::Kind;
    if (is_down()) {
      ++refused_;
    } else if (alive_for_ != UINT64_MAX && alive_for_-- == 0) {
      plan({.kind = Kind::kKilled});
    } else if (random_.percent(failing_)) {
      constexpr std::array kErrors{EIO, ENOSPC};
      plan({.kind = random_.one_in(2) ? Kind::kError : Kind::kTorn,
            .error = random_.pick(kErrors),
            .choice = any_byte()});
    } else if (random_.one_in(8)) {
      plan({.kind = Kind::kShort});
    }
    return SimulatedDisk::next_fault(repeated_if_interrupted);
  }

 private:
  static constexpr std::size_t kPageSize = 4096;
  static constexpr std::size_t kSlotSize = 72;  ///< what of a page is used

  std::uint8_t any_byte() { return static_cast<std::uint8_t>(random_.next()); }

  Random random_;
  unsigned failing_ = 0;
  std::uint64_t alive_for_ = UINT64_MAX;
  std::uint64_t refused_ = 0;  ///< while it is down
  bool rewritten_ = false;     ///< since the last fsync(2)
  std::size_t written_page_ =
      0;                 ///< of the slot that was written last: what it alone knows is most missed
  bool harmed_ = false;  ///< one of the slots may be torn or damaged
};

}  // namespace dflockd::simulation
