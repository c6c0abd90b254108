// Lets a fence file be opened, raised and damaged, on a disk that fails as the input says and in a
// computer whose power goes off. No fence may be reserved twice or below an earlier one; what is on
// the disk is read as the header of the fence file says, or refused; and one damaged slot or one
// power cut never makes the file unusable.
//
// The input begins with what is in the file at first: nothing, any bytes as its slots, or intact
// slots that say anything. What follows are pairs of bytes: what to do, and how.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

#include <openssl/sha.h>

#include "check.hpp"
#include "fencing/fence_file.hpp"
#include "fencing/fence_slot.hpp"
#include "support/simulated_disk.hpp"

namespace {

using namespace dflockd::fencing;
using dflockd::fuzz::check;
using dflockd::test::Fault;
using dflockd::test::SimulatedDisk;

constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();

template <class T, std::size_t kSize>
T pick(const std::array<T, kSize>& from, std::size_t number) {
  return from[number % kSize];
}

/// A number that a slot, a clock or an operator may come with.
std::uint64_t any_number(std::uint8_t choice) {
  constexpr std::array<std::uint64_t, 16> kNumbers{0,
                                                   1,
                                                   2,
                                                   1'000,
                                                   std::uint64_t{1} << 20,
                                                   (std::uint64_t{1} << 20) + 1,
                                                   std::uint64_t{1} << 32,
                                                   1'700'000'000'000'000'000,
                                                   std::uint64_t{1} << 63,
                                                   kMost - (std::uint64_t{3} << 20),
                                                   kMost - (std::uint64_t{1} << 20),
                                                   kMost - (std::uint64_t{1} << 20) + 1,
                                                   kMost - 4,
                                                   kMost - 1,
                                                   kMost,
                                                   5};
  return pick(kNumbers, choice) + (choice >> 6U);
}

std::uint64_t any_step(std::uint8_t choice) {
  constexpr std::array<std::uint64_t, 4> kSteps{std::uint64_t{1} << 20, 1, 7,
                                                std::uint64_t{1} << 62};
  return pick(kSteps, choice);
}

/// The input, a byte at a time; zeros when it is over.
class Input {
 public:
  explicit Input(std::span<const std::uint8_t> bytes) : rest_(bytes) {}

  [[nodiscard]] bool over() const { return rest_.empty(); }
  std::uint8_t next() {
    if (over()) return 0;
    const std::uint8_t byte = rest_.front();
    rest_ = rest_.subspan(1);
    return byte;
  }

 private:
  std::span<const std::uint8_t> rest_;
};

// --- A simple reading of the file ---

std::uint64_t number_at(std::string_view slot, std::size_t at) {
  std::uint64_t number = 0;
  for (std::size_t i = 8; i > 0; --i) {
    number = number * 256 + static_cast<unsigned char>(slot[at + i - 1]);
  }
  return number;
}

std::optional<Slot> slot_in(std::string_view content, std::size_t at) {
  const std::string_view slot = content.substr(at, 72);
  std::array<unsigned char, SHA256_DIGEST_LENGTH> sum{};
  SHA256(reinterpret_cast<const unsigned char*>(slot.data()), 40, sum.data());
  if (slot.substr(0, 8) != "dflfence" || !std::ranges::equal(slot.substr(40), sum, {}, [](char c) {
        return static_cast<unsigned char>(c);
      })) {
    return std::nullopt;
  }
  return Slot{.sequence = number_at(slot, 16),
              .limit = number_at(slot, 24),
              .step = number_at(slot, 32),
              .version = number_at(slot, 8)};
}

/// How the content of a file shall be taken.
struct Meaning {
  bool readable = false;    ///< one slot is intact at least
  bool usable = false;      ///< and there are fences left
  bool damaged = false;     ///< one slot of the two
  std::uint64_t first = 0;  ///< that no earlier run can have granted
};

Meaning meaning_of(std::string_view content) {
  if (content.size() != 8192) return {};
  const std::optional<Slot> left = slot_in(content, 0);
  const std::optional<Slot> right = slot_in(content, 4096);
  for (const auto& slot : {left, right}) {
    if (slot && slot->version != 1) return {};
  }
  if (!left && !right) return {};
  if (left && right) return {true, true, false, std::max(left->limit, right->limit)};
  const Slot& intact = left ? *left : *right;
  if (intact.step > kMost - intact.limit) return {.readable = true};
  return {true, true, true, intact.limit + intact.step};
}

// --- What happens ---

/// A server's state directory, through its life.
class Life {
 public:
  explicit Life(Input& input) {
    if (const auto content = first_content(input)) {
      disk_.put(*content);
      must_be_readable_ = meaning_of(*content).readable;
    }
  }

  /// Does what a pair of bytes says.
  void step(std::uint8_t what, std::uint8_t how) {
    switch (what % 8) {
      case 0:
      case 1:
        open(any_number(how), {any_step(what >> 4U), any_step(what >> 6U)});
        break;
      case 2:
      case 3:
        reserve(any_step(how) + (how >> 6U));
        break;
      case 4:
        what < 0x80 ? end() : cut_power(how);
        break;
      case 5:
        damage(how);
        break;
      case 6:
        look();
        break;
      default:
        plan(what, how);
    }
    if (disk_.is_off()) cut_power(how);
    if (disk_.is_down()) end();
    if (disk_.is_down()) disk_.restart();
  }

  /// The file can be used still, or it never could.
  void finish() {
    end();
    disk_.restart();
    open(0, {1, 1});
  }

 private:
  static std::optional<std::string> first_content(Input& input) {
    const std::uint8_t kind = input.next();
    if (kind % 4 == 0) return std::nullopt;
    std::string content(kFileSize, '\0');
    for (std::size_t number = 0; number < kSlotCount; ++number) {
      std::string slot;
      if (kind % 4 == 1) {
        while (slot.size() < kSlotSize) slot += static_cast<char>(input.next());
      } else {
        const SlotBytes bytes = encode({.sequence = any_number(input.next()),
                                        .limit = any_number(input.next()),
                                        .step = any_number(input.next()),
                                        .version = kind < 0xf0 ? 1 : any_number(input.next())});
        slot.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        const std::uint8_t damage = input.next();
        if (damage != 0) slot[damage % kSlotSize] ^= static_cast<char>(damage);
      }
      content.replace(slot_offset(number), slot.size(), slot);
    }
    if (kind >= 0x80 && kind < 0xa0) content.resize(kFileSize - 0x90 + kind);
    return content;
  }

  void open(std::uint64_t at_least, const FenceSteps& steps) {
    const std::uint64_t step = steps.first;
    end();
    const std::optional<std::string> before = disk_.content();
    const Meaning meaning = before ? meaning_of(*before) : Meaning{true, true, false, at_least};
    const std::uint64_t first = std::max(meaning.first, at_least);
    const bool possible = meaning.usable && first <= kMost - step;
    const std::size_t faults = disk_.noticeable_faults();
    check(meaning.readable || !must_be_readable_, "what was written is never all damaged");
    try {
      file_.emplace(FenceFile::open(SimulatedDisk::kPath, at_least, steps, disk_));
    } catch (const FenceFileError& error) {
      const std::string_view what = error.what();
      check(what.find('\n') == what.npos && what.find(SimulatedDisk::kPath) != what.npos,
            "a refusal is one line that names the file");
      check(!possible || disk_.noticeable_faults() > faults, "nothing is refused without a reason");
      check(possible || disk_.content() == before, "what cannot be used is left as it is");
      return;
    }
    most_ = steps.most;
    check(possible, "what cannot be used is refused");
    check(file_->range().first == first, "the first fence is the first that can be");
    check(file_->range().end == first + step, "one step is reserved");
    check(file_->was_damaged() == meaning.damaged, "damage is told");
    check(first >= end_of_granted_, "no fence is granted again");
    end_of_granted_ = first + step;
    const Meaning now = meaning_of(*disk_.content());
    check(now.usable && !now.damaged && now.first == end_of_granted_, "damage is repaired");
    must_be_readable_ = true;
  }

  void reserve(std::uint64_t asked) {
    if (!file_) return;
    const FenceFile::Range before = file_->range();
    const std::size_t faults = disk_.noticeable_faults();
    const std::uint64_t step = std::min(asked, most_);
    const std::error_code error = file_->reserve(asked);
    const FenceFile::Range& after = file_->range();
    check(after.first == before.first, "the first fence stays");
    if (error) {
      check(after.end == before.end, "nothing is reserved if it failed");
      const bool none_left = before.end > kMost - step;
      check(none_left == (error == std::errc::value_too_large), "2^64 is told when it is reached");
      check(none_left || disk_.noticeable_faults() > faults, "nothing fails without a reason");
      return;
    }
    check(before.end <= kMost - step && after.end == before.end + step, "one step is reserved");
    end_of_granted_ = after.end;
    // Whichever slot is lost next, the other one knows enough.
    for (const std::size_t at : {0U, 4096U}) {
      const auto slot = slot_in(*disk_.content(), at);
      check(slot && slot->limit <= after.end && after.end - slot->limit <= slot->step,
            "each slot's step bounds the other's limit");
    }
  }

  void end() { file_.reset(); }

  void cut_power(std::uint8_t choice) {
    end();
    disk_.cut_power(choice);
  }

  /// Damages a slot of an intact file that no server uses, if the disk has all of the other one:
  /// what a power cut can still take is one slot.
  void damage(std::uint8_t how) {
    end();
    const auto content = disk_.content();
    const bool intact = content && meaning_of(*content).usable && !meaning_of(*content).damaged;
    if (!intact || !disk_.is_synced()) return;
    disk_.damage((how >= 0x80 ? 4096 : 0) + (how & 0x7fU) % kSlotSize);
  }

  void look() {
    end();
    disk_.restart();  // faults are for those who write
    const std::optional<std::string> before = disk_.content();
    bool usable = true;
    try {
      FenceFile::check(SimulatedDisk::kPath, disk_);
    } catch (const FenceFileError&) {
      usable = false;
    }
    check(usable == meaning_of(before.value_or("")).usable, "a check tells what is usable");
    check(disk_.content() == before, "a check changes nothing");
  }

  void plan(std::uint8_t what, std::uint8_t how) {
    constexpr std::array kKinds{Fault::Kind::kError, Fault::Kind::kError,   Fault::Kind::kShort,
                                Fault::Kind::kTorn,  Fault::Kind::kKilled,  Fault::Kind::kPowerOff,
                                Fault::Kind::kError, Fault::Kind::kPowerOff};
    constexpr std::array kErrors{EIO, ENOSPC, EINTR, EWOULDBLOCK, EACCES, EDQUOT};
    disk_.plan({.after = static_cast<std::size_t>(what >> 3U),
                .kind = pick(kKinds, how),
                .error = pick(kErrors, how >> 3U),
                .choice = how});
  }

  SimulatedDisk disk_;
  std::optional<FenceFile> file_;
  std::uint64_t most_ = 1;
  std::uint64_t end_of_granted_ = 0;
  bool must_be_readable_ = true;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input({data, size});
  Life life(input);
  while (!input.over()) {
    const std::uint8_t what = input.next();
    life.step(what, input.next());
  }
  life.finish();
  return 0;
}
