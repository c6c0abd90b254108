// What a fence state file promises while every operation works: which files are refused, and which
// fences are granted over restarts.
#include "fencing/fence_file.hpp"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "scripted_ops.hpp"
#include "state_directory.hpp"

namespace dflockd::fencing {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr std::uint64_t kNow = 1'700'000'000'000'000'000;
constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kStep = 1000;
constexpr FenceSteps kSteps{.first = kStep, .most = kStep};

class FenceFileTest : public testing::Test {
 protected:
  [[nodiscard]] FenceFile open(std::uint64_t at_least = kNow, std::uint64_t step = kStep) {
    return FenceFile::open(directory_.file(), at_least, {step, step}, ops_);
  }

  /// What `open` says when it refuses the file at `path`.
  [[nodiscard]] std::string refusal(const std::filesystem::path& path, std::uint64_t now = kNow) {
    try {
      const FenceFile file = FenceFile::open(path, now, kSteps, ops_);
    } catch (const FenceFileError& error) {
      return error.what();
    }
    return "not refused";
  }

  /// Expects the file with these bytes to be refused for that reason, and to be left alone.
  void expect_refused(const std::string& bytes, const std::string& reason) {
    directory_.write(bytes);
    EXPECT_THAT(refusal(directory_.file()),
                AllOf(HasSubstr(directory_.file()), HasSubstr(reason), Not(HasSubstr("\n"))));
    EXPECT_EQ(directory_.read(), bytes);
    EXPECT_THAT(directory_.names(), ElementsAre("fences"));
  }

  /// The same, and expects `check` to find the same fault.
  void expect_damaged(const std::string& bytes, const std::string& reason) {
    expect_refused(bytes, reason);
    try {
      FenceFile::check(directory_.file(), ops_);
      ADD_FAILURE() << "check found nothing wrong";
    } catch (const FenceFileError& error) {
      EXPECT_THAT(error.what(), HasSubstr(reason));
    }
  }

  StateDirectory directory_;
  ScriptedOps ops_;
};

/// The permission bits of a file.
mode_t mode_of(const std::filesystem::path& path) {
  struct stat status {};
  EXPECT_EQ(::stat(path.c_str(), &status), 0);
  return status.st_mode & 07777;
}

// --- Files that are refused ---

TEST_F(FenceFileTest, an_empty_file_is_refused) {
  expect_damaged("", "is empty, as a mount or touch(1) makes it; remove it");
}

TEST_F(FenceFileTest, a_file_of_another_size_is_refused) {
  std::ignore = open();
  const std::string intact = directory_.read();
  expect_damaged(intact.substr(0, kFileSize - 1), "8191 bytes, not 8192");
  expect_damaged(intact.substr(0, kBlockSize), "4096 bytes");
  expect_damaged(intact + '\0', "8193 bytes");
}

TEST_F(FenceFileTest, a_foreign_file_is_refused) {
  expect_damaged(std::string(kFileSize, '\0'), "damaged in both slots");
  expect_damaged(std::string(kFileSize, 'x'), "damaged in both slots");
  expect_damaged("listen = \"127.0.0.1\"\n", "something else");
}

TEST_F(FenceFileTest, a_file_damaged_in_both_slots_is_refused) {
  std::ignore = open();
  directory_.flip(slot_offset(0) + kLimitAt);
  directory_.flip(slot_offset(1) + kChecksumAt);
  expect_damaged(directory_.read(), "damaged in both slots");
}

TEST_F(FenceFileTest, a_file_of_another_format_version_is_refused_whatever_the_other_slot) {
  const Slot known{.sequence = 1, .limit = kNow, .step = kStep};
  const Slot unknown{.sequence = 2, .limit = kNow, .step = kStep, .version = 2};
  expect_damaged(image_of(known, unknown), "format version 2");
  expect_damaged(image_of(unknown, known), "format version 2");
}

TEST_F(FenceFileTest, a_directory_or_a_fifo_or_a_device_is_refused) {
  EXPECT_THAT(refusal(directory_.path()), HasSubstr("Is a directory"));
  ASSERT_EQ(::mkfifo(directory_.file().c_str(), 0600), 0);
  EXPECT_THAT(refusal(directory_.file()), HasSubstr("not a regular file"));
  EXPECT_THAT(refusal("/dev/null"), HasSubstr("not a regular file"));
}

TEST_F(FenceFileTest, a_missing_directory_is_refused) {
  const auto path = directory_.path() / "missing" / "fences";
  EXPECT_THAT(refusal(path), AllOf(HasSubstr(path), HasSubstr("No such file or directory"),
                                   HasSubstr("its directory must exist")));
  EXPECT_THAT(refusal(""), HasSubstr("No such file or directory"));
}

TEST_F(FenceFileTest, a_symbolic_link_that_leads_nowhere_is_refused) {
  std::filesystem::create_symlink("nowhere", directory_.file());
  EXPECT_THAT(refusal(directory_.file()), HasSubstr("No such file or directory"));
  EXPECT_THAT(directory_.names(), ElementsAre("fences"));
}

TEST_F(FenceFileTest, a_second_server_is_refused_until_the_first_is_gone) {
  auto first = std::make_unique<FenceFile>(open());
  const std::string bytes = directory_.read();
  expect_refused(bytes, "another server is using it");
  FenceFile moved = std::move(*first);
  first.reset();
  expect_refused(bytes, "another server is using it");
  EXPECT_FALSE(moved.reserve(kStep));
  { const FenceFile last = std::move(moved); }
  EXPECT_EQ(open().range().first, kNow + 2 * kStep);
}

TEST_F(FenceFileTest, a_file_in_use_can_be_checked_and_is_left_alone) {
  const FenceFile file = open();
  const std::string before = directory_.read();
  EXPECT_NO_THROW(FenceFile::check(directory_.file(), ops_));
  EXPECT_EQ(directory_.read(), before);
}

TEST_F(FenceFileTest, fences_beyond_64_bits_are_refused_before_a_file_is_created) {
  EXPECT_THAT(refusal(directory_.file(), kMax - kStep + 1), HasSubstr("2^64"));
  EXPECT_THAT(directory_.names(), ElementsAre());
}

TEST_F(FenceFileTest, a_file_that_has_reached_64_bits_is_refused) {
  const Slot last{.sequence = 2, .limit = kMax - kStep + 1, .step = kStep};
  const Slot before{.sequence = 1, .limit = kMax - 2 * kStep + 1, .step = kStep};
  expect_refused(image_of(before, last), "2^64");
  // The slot that is left, one step below: the step that must be skipped does not fit.
  const std::string lost = std::string(kSlotSize, '\0');
  expect_refused(image_of(last, last).replace(0, kSlotSize, lost), "2^64");
}

// --- Creation ---

TEST_F(FenceFileTest, a_file_is_created_with_mode_0600_under_any_umask) {
  for (const mode_t mask : {mode_t{0}, mode_t{022}, mode_t{077}}) {
    const mode_t before = ::umask(mask);
    std::ignore = open();
    ::umask(before);
    EXPECT_EQ(mode_of(directory_.file()), 0600U);
    EXPECT_THAT(directory_.names(), ElementsAre("fences"));
    std::filesystem::remove(directory_.file());
  }
}

TEST_F(FenceFileTest, a_file_is_whole_and_synced_before_it_has_its_name_and_then_its_entry_is) {
  std::ignore = open();
  EXPECT_THAT(ops_.calls,
              ElementsAre("open", "mkostemp", "pwrite 0", "fsync", "link", "unlink",  // created
                          "open", "fstat", "flock", "open", "fsync",                  // its entry
                          "pread", "pread",                                           //
                          "pwrite 4096", "fsync", "pwrite 0", "fsync"));
}

TEST_F(FenceFileTest, a_file_created_meanwhile_by_another_server_is_not_overwritten) {
  const std::string theirs = image_of({.sequence = 8, .limit = kNow + 50, .step = kStep},
                                      {.sequence = 9, .limit = kNow + 60, .step = kStep});
  ops_.fault = [&](const std::string& operation) {
    if (operation == "link") directory_.write(theirs);
    return 0;
  };
  EXPECT_EQ(open().range().first, kNow + 60);
  EXPECT_THAT(directory_.names(), ElementsAre("fences"));
}

TEST_F(FenceFileTest, a_name_without_a_directory_is_a_file_in_the_current_one) {
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(directory_.path());
  std::ignore = FenceFile::open("fences", kNow, kSteps, ops_);
  std::filesystem::current_path(before);
  EXPECT_THAT(directory_.names(), ElementsAre("fences"));
}

TEST_F(FenceFileTest, the_system_itself_creates_opens_and_reserves) {
  {
    FenceFile file = FenceFile::open(directory_.file(), kNow);
    EXPECT_EQ(file.range().first, kNow);
    EXPECT_FALSE(file.reserve(kStep));
    EXPECT_EQ(file.range().end, kNow + FenceSteps::kFirst + kStep);
  }
  const FenceFile file = FenceFile::open(directory_.file(), kNow);
  EXPECT_EQ(file.range().first, kNow + FenceSteps::kFirst + kStep);
  EXPECT_THAT(directory_.names(), ElementsAre("fences"));
}

TEST_F(FenceFileTest, no_descriptor_passes_to_a_program_that_is_started) {
  const FenceFile file = open();
  int found = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    if (std::filesystem::read_symlink(entry, gone) != directory_.file()) continue;
    ++found;
    EXPECT_TRUE(::fcntl(std::stoi(entry.path().filename()), F_GETFD) & FD_CLOEXEC);
  }
  EXPECT_EQ(found, 1);
}

// --- Fences ---

TEST_F(FenceFileTest, fences_start_at_the_clock_and_end_a_step_later) {
  const FenceFile file = open();
  EXPECT_EQ(file.range().first, kNow);
  EXPECT_EQ(file.range().end, kNow + kStep);
}

TEST_F(FenceFileTest, opening_makes_both_slots_durable_newer_first) {
  std::ignore = open();
  const std::string before = directory_.read();
  const std::size_t newer = slot_in(before, 0)->sequence < slot_in(before, 1)->sequence ? 1 : 0;
  ops_.calls.clear();
  std::ignore = open(kNow + 1'000'000 * kStep);
  ops_.calls.erase(ops_.calls.begin(), std::ranges::find(ops_.calls, "pread") + 2);
  const std::string older_at = "pwrite " + std::to_string(slot_offset(1 - newer));
  const std::string newer_at = "pwrite " + std::to_string(slot_offset(newer));
  EXPECT_THAT(ops_.calls, ElementsAre(newer_at, "fsync", older_at, "fsync"));
  const std::string after = directory_.read();
  EXPECT_EQ(slot_in(after, 0)->limit, kNow + 1'000'001 * kStep);
  EXPECT_EQ(slot_in(after, 1)->limit, kNow + 1'000'001 * kStep);
}

TEST_F(FenceFileTest, a_reservation_writes_the_older_slot_and_syncs_once) {
  FenceFile file = open();
  ops_.calls.clear();
  for (int i = 0; i < 4; ++i) ASSERT_FALSE(file.reserve(kStep));
  EXPECT_THAT(ops_.calls, ElementsAre("pwrite 4096", "fsync", "pwrite 0", "fsync",  //
                                      "pwrite 4096", "fsync", "pwrite 0", "fsync"));
}

TEST_F(FenceFileTest, each_reservation_raises_the_end_by_one_step) {
  FenceFile file = open();
  for (std::uint64_t i = 1; i <= 10'000; ++i) {
    ASSERT_FALSE(file.reserve(kStep));
    ASSERT_EQ(file.range().end, kNow + (i + 1) * kStep);
  }
  EXPECT_EQ(file.range().first, kNow);
}

TEST_F(FenceFileTest, a_reservation_takes_what_it_is_told_up_to_the_most_that_the_slots_promise) {
  FenceFile file = FenceFile::open(directory_.file(), kNow, {.first = 10, .most = kStep}, ops_);
  std::uint64_t end = kNow + 10;
  for (const std::uint64_t step : {std::uint64_t{1}, kStep, std::uint64_t{7}, kStep + 1, kMax}) {
    ASSERT_FALSE(file.reserve(step));
    end += std::min(step, kStep);
    EXPECT_EQ(file.range().end, end);
    for (const std::size_t number : {0U, 1U}) {
      const Slot slot = *slot_in(directory_.read(), number);
      EXPECT_GE(slot.limit + slot.step, end) << "if it were the only one left";
      EXPECT_EQ(slot.step, kStep);
    }
  }
}

// As an earlier version of the server left it, which reserved 2^20 at a time.
TEST_F(FenceFileTest, slots_with_other_steps_are_taken_at_their_word_until_they_are_written_again) {
  constexpr std::uint64_t kTheirs = std::uint64_t{1} << 20;
  const Slot newer{.sequence = 2, .limit = kNow + kTheirs, .step = kTheirs};
  const Slot older{.sequence = 1, .limit = kNow, .step = kTheirs};
  const std::string lost(kSlotSize, '\0');
  const std::string both = image_of(older, newer);
  for (const bool newer_lost : {false, true}) {
    std::string image = both;
    image.replace(newer_lost ? slot_offset(1) : 0, kSlotSize, lost);
    directory_.write(image);
    EXPECT_EQ(open(0, 1).range().first, kNow + kTheirs * (newer_lost ? 1 : 2));
  }
  directory_.write(both);
  FenceFile file = FenceFile::open(directory_.file(), 0, {.first = 1, .most = 16 * kTheirs}, ops_);
  EXPECT_EQ(file.range().first, kNow + kTheirs);
  ASSERT_FALSE(file.reserve(16 * kTheirs));
  for (const std::size_t number : {0U, 1U}) {
    const Slot slot = *slot_in(directory_.read(), number);
    EXPECT_GE(slot.limit + slot.step, file.range().end);
  }
}

TEST_F(FenceFileTest, a_reservation_beyond_64_bits_fails_and_changes_nothing) {
  FenceFile file = open(kMax - 2 * kStep);
  ASSERT_FALSE(file.reserve(kStep));
  const std::string bytes = directory_.read();
  EXPECT_EQ(file.reserve(kStep), std::errc::value_too_large);
  EXPECT_EQ(file.range().end, kMax);
  EXPECT_EQ(directory_.read(), bytes);
}

TEST_F(FenceFileTest, no_step_of_the_clock_over_restarts_lowers_a_fence) {
  std::mt19937_64 random(1);
  std::uint64_t end = 0;
  for (int restart = 0; restart < 500; ++restart) {
    const std::uint64_t now = kNow - 1'000'000 + random() % 2'000'000;
    FenceFile file = open(now, 1 + random() % 5000);
    ASSERT_EQ(file.range().first, std::max(now, end));
    for (auto i = random() % 3; i > 0; --i) ASSERT_FALSE(file.reserve(kStep));
    end = file.range().end;
  }
}

TEST_F(FenceFileTest, a_flipped_byte_anywhere_in_a_slot_never_lowers_a_fence_and_is_healed) {
  for (std::uint64_t reservations = 0; reservations < 3; ++reservations) {
    for (std::size_t byte = 0; byte < kSlotCount * kSlotSize; ++byte) {
      std::filesystem::remove(directory_.file());
      FenceFile::Range granted;
      {
        FenceFile file = open();
        for (std::uint64_t i = 0; i < reservations; ++i) ASSERT_FALSE(file.reserve(kStep));
        granted = file.range();
      }
      directory_.flip(slot_offset(byte / kSlotSize) + byte % kSlotSize);
      // The clock went back, and the step is smaller: only the file protects the fences.
      const FenceFile file = open(0, 1);
      EXPECT_GE(file.range().first, granted.end) << "byte " << byte;
      EXPECT_LE(file.range().first, granted.end + kStep) << "byte " << byte;
      EXPECT_TRUE(slot_in(directory_.read(), 0) && slot_in(directory_.read(), 1));
    }
  }
}

TEST_F(FenceFileTest, bytes_behind_the_slots_do_not_matter) {
  std::ignore = open();
  directory_.flip(slot_offset(0) + kSlotSize);
  directory_.flip(slot_offset(1) + kBlockSize - 1);
  EXPECT_EQ(open(0).range().first, kNow + kStep);
}

TEST_F(FenceFileTest, a_symbolic_link_to_a_file_is_followed) {
  std::ignore = open();
  const auto link = directory_.path() / "link";
  std::filesystem::create_symlink(directory_.file(), link);
  EXPECT_EQ(FenceFile::open(link, 0, kSteps, ops_).range().first, kNow + kStep);
  EXPECT_TRUE(std::filesystem::is_symlink(link));
}

}  // namespace
}  // namespace dflockd::fencing
