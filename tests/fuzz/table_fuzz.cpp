// Makes moves against a lock table and against the naive model that the property tests have. What
// can be seen of the two must agree after each; at the end, owners that go leave nothing, and so
// does time.
//
// The first byte is what the table starts from, the second how it ends, and five each make a move.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>

#include "duel.hpp"
#include "moves.hpp"

namespace {

using namespace dflockd::locks;
using std::chrono::seconds;

constexpr std::size_t kSetupSize = 2;
/// The model does not get faster.
constexpr std::size_t kMostMoves = 200;

/// How it ends. What must be left then does not go with everything that may happen before.
enum class End : std::uint8_t { kAnyhow, kOwnersGo, kTimePasses };

void leave_nothing(Command& command) {
  std::visit(
      [](auto& any) {
        if constexpr (requires { any.legacy; }) any.legacy = {};
      },
      command);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::span<const std::uint8_t> bytes(data, size);
  if (bytes.size() < kSetupSize) return -1;  // not worth keeping
  Duel duel(setup_of({bytes[0]}));
  const auto end = static_cast<End>(bytes[1] % 3);
  bytes = bytes.subspan(kSetupSize);
  MoveBytes next{};
  for (std::size_t i = 0; i < kMostMoves && bytes.size() >= next.size(); ++i) {
    std::ranges::copy(bytes.first(next.size()), next.begin());
    bytes = bytes.subspan(next.size());
    Move move = move_of(next);
    if (end == End::kOwnersGo) leave_nothing(move.command);
    if (end == End::kTimePasses) shorten(move.command, seconds(5));
    duel.make(move);
  }
  if (end == End::kOwnersGo) duel.close_all_owners();
  if (end == End::kTimePasses) duel.let_time_pass();
  return 0;
}
