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

/// A client's file that begins with an open connection.
std::string connected(const std::string& records);

/// `a.1` holds the lock from 20 ms on for 10 s, and does what `records` say.
std::string holder(const std::string& records = "");
std::set<std::string_view> violated_by_holder(const std::string& records);

}  // namespace dflockd::history
