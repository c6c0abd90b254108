// Histories as tests write them: times in milliseconds, and `token=@7` for a token whose fence
// is 7.
#pragma once

#include <initializer_list>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "checker.hpp"
#include "history.hpp"

namespace dflockd::history {

inline constexpr Time kMillisecond = kSecond / 1000;

/// The history of these files, each a name and its text.
History written(std::initializer_list<std::pair<std::string, std::string>> files);

/// What is violated in it.
std::set<std::string_view> violated(const History& history, const Bounds& bounds = {});

}  // namespace dflockd::history
