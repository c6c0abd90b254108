// A fence state file when the power goes: in the midst of every byte written, and at random between
// failures of every other kind. Whatever is left on the disk, no fence comes twice or goes down.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fencing/fence_file.hpp"
#include "scripted_ops.hpp"
#include "state_directory.hpp"
#include "support/simulated_disk.hpp"

namespace dflockd::fencing {
namespace {

constexpr std::uint64_t kNow = 1'700'000'000'000'000'000;
constexpr std::uint64_t kStep = 1000;
constexpr FenceSteps kSteps{.first = kStep, .most = kStep};

/// Thrown by an operation in which the power goes.
struct PowerCut {};

/// Operations whose power goes after a number of bytes written. Nothing happens from then on.
class OpsUntilPowerCut : public ScriptedOps {
 public:
  explicit OpsUntilPowerCut(std::size_t bytes) : bytes_left_(bytes) {}

  ssize_t pwrite(int fd, const void* bytes, std::size_t size, off_t offset) override {
    const std::size_t written = std::min(size, bytes_left_);
    FileOps::pwrite(fd, bytes, written, offset);
    bytes_left_ -= written;
    if (written == size) return static_cast<ssize_t>(size);
    fault = [](const std::string&) { return EIO; };
    throw PowerCut();
  }

 private:
  std::size_t bytes_left_;
};

TEST(FenceFileCrash, power_cut_at_any_byte_of_a_creation_leaves_the_whole_file_or_none) {
  ScriptedOps ops;
  const std::size_t bytes_in_all = kFileSize + kSlotCount * kSlotSize;
  // In the padding every place is like the next: look at one in eight, and at every slot byte.
  for (std::size_t cut = 0; cut < bytes_in_all; cut += (cut % kBlockSize < kSlotSize ? 1 : 8)) {
    const StateDirectory directory;
    OpsUntilPowerCut failing(cut);
    EXPECT_THROW(std::ignore = FenceFile::open(directory.file(), kNow, kSteps, failing), PowerCut);
    EXPECT_EQ(std::filesystem::exists(directory.file()), cut >= kFileSize) << cut;
    EXPECT_GE(FenceFile::open(directory.file(), kNow, kSteps, ops).range().first, kNow) << cut;
  }
}

TEST(FenceFileCrash, power_cut_at_any_byte_of_an_opening_never_lowers_a_fence) {
  const StateDirectory directory;
  ScriptedOps ops;
  for (const std::uint64_t clock_step : {std::uint64_t{0}, 1'000'000 * kStep}) {
    std::uint64_t now = kNow;
    for (std::size_t cut = 0; cut < kSlotCount * kSlotSize; ++cut) {
      const auto granted = FenceFile::open(directory.file(), now, kSteps, ops).range();
      now += clock_step;
      OpsUntilPowerCut failing(cut);
      EXPECT_THROW(std::ignore = FenceFile::open(directory.file(), now, {1, 1}, failing), PowerCut);
      EXPECT_GE(FenceFile::open(directory.file(), 0, {1, 1}, ops).range().first, granted.end)
          << cut;
    }
  }
}

TEST(FenceFileCrash, power_cut_at_any_byte_of_a_reservation_never_lowers_a_fence) {
  const StateDirectory directory;
  ScriptedOps ops;
  for (std::size_t reservations = 0; reservations < 3; ++reservations) {
    for (std::size_t cut = 0; cut < kSlotSize; ++cut) {
      OpsUntilPowerCut failing(kSlotCount * kSlotSize + reservations * kSlotSize + cut);
      std::ignore = FenceFile::open(directory.file(), 0, kSteps, ops);
      auto file =
          std::make_unique<FenceFile>(FenceFile::open(directory.file(), 0, kSteps, failing));
      // The steps grow: the last is the first that a slot may be missing for.
      for (std::size_t i = 0; i < reservations; ++i) ASSERT_FALSE(file->reserve(kStep >> (9 - i)));
      EXPECT_THROW(std::ignore = file->reserve(kStep), PowerCut);
      const std::uint64_t end = file->range().end;
      file.reset();
      const auto range = FenceFile::open(directory.file(), 0, kSteps, ops).range();
      EXPECT_GE(range.first, end) << cut;
      EXPECT_LE(range.first, end + kStep) << cut;
    }
  }
}

/// What is on a disk of which no more than half of each slot written since `synced` has got there.
std::string half_written(const std::string& synced, const std::string& seen) {
  std::string disk = synced;
  for (std::size_t number = 0; number < kSlotCount; ++number) {
    const auto half = [&](const std::string& bytes) {
      return bytes.substr(slot_offset(number), kSlotSize / 2);
    };
    disk.replace(slot_offset(number), kSlotSize / 2, half(seen));
  }
  return disk;
}

// What the second process reads, the first one has written and not synced.
TEST(FenceFileCrash, power_cut_at_any_byte_of_an_opening_after_one_that_was_killed_leaves_a_slot) {
  ScriptedOps ops;
  for (std::size_t cut = 0; cut < kSlotSize; ++cut) {
    const StateDirectory directory;
    const auto granted = FenceFile::open(directory.file(), kNow, kSteps, ops).range();
    const std::string synced = directory.read();
    ScriptedOps killed;  // between a write and its sync
    killed.fault = [&killed](const std::string&) {
      const bool has_written = std::ranges::any_of(
          killed.calls, [](const std::string& call) { return call.starts_with("pwrite"); });
      return has_written && killed.calls.back() == "fsync" ? EIO : 0;
    };
    EXPECT_THROW(std::ignore = FenceFile::open(directory.file(), 0, kSteps, killed),
                 FenceFileError);
    OpsUntilPowerCut failing(cut);
    EXPECT_THROW(std::ignore = FenceFile::open(directory.file(), 0, kSteps, failing), PowerCut);
    directory.write(half_written(synced, directory.read()));
    EXPECT_GE(FenceFile::open(directory.file(), 0, kSteps, ops).range().first, granted.end) << cut;
  }
}

// --- Everything at random ---

using Random = std::mt19937_64;

bool one_in(Random& random, std::uint64_t n) {
  return random() % n == 0;
}

/// A server's life on an unreliable disk, and what it must keep to.
class Life {
 public:
  explicit Life(std::uint64_t seed) : random_(seed) {
    end_ = FenceFile::open(kPath, kNow, {1, 1}, disk_).range().end;
  }

  /// Does something. False at the end: both slots got damaged, and the file was refused.
  bool go_on() {
    if (one_in(random_, 4)) plan_fault();
    if (one_in(random_, 20)) rot();
    if (one_in(random_, 20)) disk_.plan({.kind = Fault::Kind::kPowerOff});
    if (one_in(random_, 10)) file_.reset();
    faults_before_ = disk_.noticeable_faults();
    const bool goes_on = file_ ? reserve() : open();
    if (disk_.is_down()) {
      file_.reset();
      disk_.is_off() ? disk_.cut_power(static_cast<std::uint8_t>(random_())) : disk_.restart();
    }
    return goes_on;
  }

  int opened = 0;
  int reserved = 0;

 private:
  using Fault = test::Fault;
  static constexpr std::string_view kPath = test::SimulatedDisk::kPath;

  void plan_fault() {
    constexpr std::array kKinds{Fault::Kind::kError, Fault::Kind::kShort, Fault::Kind::kTorn,
                                Fault::Kind::kKilled, Fault::Kind::kPowerOff};
    disk_.plan({.after = random_() % 6,
                .kind = kKinds[random_() % kKinds.size()],
                .error = one_in(random_, 2) ? EIO : ENOSPC,
                .choice = static_cast<std::uint8_t>(random_())});
  }

  [[nodiscard]] std::size_t intact_slots() const {
    const std::string content = disk_.content().value();
    return std::size_t{slot_in(content, 0).has_value()} + slot_in(content, 1).has_value();
  }

  /// Turns a byte of a slot into another, unless a slot is damaged already.
  void rot() {
    if (disk_.is_synced() && intact_slots() == kSlotCount) {
      disk_.damage(slot_offset(random_() % kSlotCount) + random_() % kSlotSize);
    }
  }

  [[nodiscard]] bool fault_happened() const {
    return disk_.noticeable_faults() > faults_before_ || disk_.is_down();
  }

  bool reserve() {
    const FenceFile::Range before = file_->range();
    const std::uint64_t step = 1 + random_() % (one_in(random_, 4) ? 2 * most_ : most_);
    const std::error_code error = file_->reserve(step);
    EXPECT_TRUE(!error || fault_happened());
    EXPECT_EQ(file_->range().first, before.first);
    EXPECT_EQ(file_->range().end, error ? before.end : before.end + std::min(step, most_));
    end_ = file_->range().end;
    reserved += error ? 0 : 1;
    return true;
  }

  bool open() {
    const std::uint64_t first = 1 + random_() % 1000;
    most_ = 1 + random_() % 1000;
    const std::uint64_t now = one_in(random_, 3) ? end_ + random_() % 1'000'000 : random_() % end_;
    try {
      file_.emplace(FenceFile::open(kPath, now, {first, most_}, disk_));
    } catch (const FenceFileError& error) {
      EXPECT_TRUE(fault_happened() || intact_slots() == 0) << error.what();
      return intact_slots() > 0;
    }
    EXPECT_GE(file_->range().first, end_);
    EXPECT_GE(file_->range().first, now);
    EXPECT_EQ(file_->range().end, file_->range().first + first);
    end_ = file_->range().end;
    ++opened;
    return true;
  }

  Random random_;
  test::SimulatedDisk disk_;
  std::optional<FenceFile> file_;
  std::size_t faults_before_ = 0;
  std::uint64_t most_ = 1;
  std::uint64_t end_ = 0;  ///< the end of all fences that may have been granted
};

TEST(FenceFileCrash, no_life_on_an_unreliable_disk_repeats_or_lowers_a_fence) {
  int opened = 0;
  int reserved = 0;
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Life life(seed);
    for (int action = 0; action < 200 && life.go_on(); ++action) ASSERT_FALSE(HasFailure());
    opened += life.opened;
    reserved += life.reserved;
  }
  // The lives were long enough to mean something.
  EXPECT_GT(opened, 1000);
  EXPECT_GT(reserved, 1000);
}

}  // namespace
}  // namespace dflockd::fencing
