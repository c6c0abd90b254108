// A fence state file when the system reports failures: full disks, I/O errors, short transfers,
// interruptions. Whatever fails and wherever, nothing is left over, the next try works, and no
// fence comes twice.
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <tuple>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fencing/fence_file.hpp"
#include "scripted_ops.hpp"
#include "state_directory.hpp"

namespace dflockd::fencing {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::SizeIs;

constexpr std::uint64_t kNow = 1'700'000'000'000'000'000;
constexpr std::uint64_t kStep = 1000;
constexpr FenceSteps kSteps{.first = kStep, .most = kStep};

class FenceFileFaultTest : public testing::TestWithParam<int> {
 protected:
  [[nodiscard]] FenceFile open(std::uint64_t at_least = kNow) {
    return FenceFile::open(directory_.file(), at_least, kSteps, ops_);
  }

  /// How many operations `open` takes.
  [[nodiscard]] std::size_t calls_of_open() {
    ops_.calls.clear();
    std::ignore = open(0);
    return ops_.calls.size();
  }

  void heal() {
    ops_.fault = [](const std::string&) { return 0; };
  }

  StateDirectory directory_;
  ScriptedOps ops_;
};

INSTANTIATE_TEST_SUITE_P(Errors, FenceFileFaultTest, testing::Values(EIO, ENOSPC, EACCES, EROFS),
                         [](const auto& error) { return strerrorname_np(error.param); });

TEST_P(FenceFileFaultTest, creation_that_fails_anywhere_leaves_no_other_file_and_can_be_retried) {
  const std::size_t calls = calls_of_open();
  const std::string why = std::generic_category().message(GetParam());
  for (std::size_t failing = 0; failing < calls; ++failing) {
    SCOPED_TRACE("operation " + ops_.calls.at(failing) + ", number " + std::to_string(failing));
    std::filesystem::remove(directory_.file());
    ScriptedOps ops;
    ops.fail_call(failing, GetParam());
    if (ops_.calls[failing] == "unlink") {  // the file is good all the same, and complete
      EXPECT_EQ(FenceFile::open(directory_.file(), kNow, kSteps, ops).range().first, kNow);
      EXPECT_THAT(directory_.names(), AllOf(SizeIs(2), Contains("fences")));
      for (const auto& name : directory_.names()) std::filesystem::remove(directory_.path() / name);
      continue;
    }
    try {
      std::ignore = FenceFile::open(directory_.file(), kNow, kSteps, ops);
      FAIL() << "the failure went unnoticed";
    } catch (const FenceFileError& error) {
      EXPECT_THAT(error.what(), AllOf(HasSubstr(directory_.file()), HasSubstr(why)));
    }
    for (const auto& name : directory_.names()) EXPECT_EQ(name, "fences");
    EXPECT_GE(open().range().first, kNow);
  }
}

TEST_P(FenceFileFaultTest, opening_that_fails_anywhere_can_be_retried_and_repeats_no_fence) {
  std::uint64_t end = open().range().end;
  const std::size_t calls = calls_of_open();
  end += kStep;
  for (std::size_t failing = 0; failing < calls; ++failing) {
    SCOPED_TRACE("operation " + ops_.calls.at(failing) + ", number " + std::to_string(failing));
    ScriptedOps ops;
    ops.fail_call(failing, GetParam());
    EXPECT_THROW(std::ignore = FenceFile::open(directory_.file(), 0, kSteps, ops), FenceFileError);
    const FenceFile file = FenceFile::open(directory_.file(), 0, kSteps, ops);
    EXPECT_GE(file.range().first, end);
    EXPECT_LE(file.range().first, end + kStep);
    end = file.range().end;
  }
}

TEST_P(FenceFileFaultTest, a_reservation_that_fails_changes_nothing_and_retries_the_same_slot) {
  FenceFile file = open();
  for (int round = 0; round < 4; ++round) {
    const std::uint64_t end = file.range().end;
    std::string first_try;
    for (std::size_t failing = 0; failing < 2; ++failing) {
      ops_.calls.clear();
      ops_.fail_call(failing, GetParam());
      const std::error_code error = file.reserve(kStep);
      EXPECT_EQ(error, std::error_code(GetParam(), std::generic_category()));
      EXPECT_EQ(file.range().end, end);
      if (failing == 0) first_try = ops_.calls.front();
      EXPECT_EQ(ops_.calls.front(), first_try);
    }
    ops_.calls.clear();
    EXPECT_FALSE(file.reserve(kStep));
    EXPECT_THAT(ops_.calls, testing::ElementsAre(first_try, "fsync"));
    EXPECT_EQ(file.range().end, end + kStep);
  }
}

TEST_P(FenceFileFaultTest, a_write_that_stops_half_way_leaves_the_other_slot_and_repeats_no_fence) {
  for (std::size_t written = 0; written < kSlotSize; ++written) {
    std::optional<FenceFile> file = open(0);
    ops_.longest_transfer = 1;
    ops_.fail_call(written, GetParam());
    EXPECT_EQ(file->reserve(kStep), std::error_code(GetParam(), std::generic_category()));
    ops_.longest_transfer = kFileSize;
    const std::uint64_t end = file->range().end;
    EXPECT_TRUE(slot_in(directory_.read(), 0) || slot_in(directory_.read(), 1));
    if (written % 2 == 0) {
      EXPECT_FALSE(file->reserve(kStep));
      EXPECT_EQ(file->range().end, end + kStep);
    }
    const std::uint64_t granted = file->range().end;
    file.reset();
    EXPECT_GE(open(0).range().first, granted);
  }
}

TEST_F(FenceFileFaultTest, transfers_of_one_byte_and_interruptions_are_carried_on) {
  ops_.longest_transfer = 1;
  ops_.fault = [interrupted = false](const std::string& operation) mutable {
    if (operation == "mkostemp" || operation == "unlink" || operation == "link" ||
        operation == "fstat") {
      return 0;
    }
    interrupted = !interrupted;
    return interrupted ? EINTR : 0;
  };
  std::uint64_t end = 0;
  {
    FenceFile file = open();
    EXPECT_FALSE(file.reserve(kStep));
    end = file.range().end;
    EXPECT_EQ(end, kNow + 2 * kStep);
  }
  EXPECT_EQ(open().range().first, end);
  EXPECT_THAT(directory_.names(), SizeIs(1));
}

TEST_F(FenceFileFaultTest, a_disk_that_takes_or_gives_nothing_is_an_io_error) {
  FenceFile file = open();
  ops_.longest_transfer = 0;
  EXPECT_EQ(file.reserve(kStep), std::errc::io_error);
  { const FenceFile closed = std::move(file); }
  EXPECT_THROW(std::ignore = open(), FenceFileError);
}

}  // namespace
}  // namespace dflockd::fencing
