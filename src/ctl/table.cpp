#include <algorithm>
#include <array>
#include <chrono>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "ctl/commands.hpp"
#include "ctl/text.hpp"

namespace dflockd::ctl {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kColumns = 6;
constexpr std::size_t kKey = 1;  ///< the column that is cut
constexpr std::size_t kLeastKey = 8;
using Row = std::array<std::string, kColumns>;

/// How many columns of a terminal the text takes, if all of its characters take one.
std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(
      text, [](char byte) { return (static_cast<unsigned char>(byte) & 0xc0U) != 0x80U; }));
}

std::string cut(const std::string& text, std::size_t width) {
  if (width_of(text) <= width) return text;
  std::size_t end = 0;
  for (std::size_t seen = 0; end < text.size(); ++end) {
    const bool begins = (static_cast<unsigned char>(text[end]) & 0xc0U) != 0x80U;
    if (begins && ++seen == width) break;
  }
  return text.substr(0, end) + "…";
}

std::string time_text(const Json& element, const char* name) {
  // What no integer can hold must not be converted to one.
  constexpr auto kMost = static_cast<double>(base::kMaxSeconds.count());
  const double seconds = std::clamp(element.at(name).get<double>(), 0.0, kMost);
  return short_text(std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::duration<double>(seconds)));
}

/// Counts are integers: anything else is not converted to one, but throws.
Json::number_unsigned_t count_of(const Json& element, const char* name) {
  return element.at(name).get_ref<const Json::number_unsigned_t&>();
}

std::string number_text(const Json& element, const char* name) {
  return std::to_string(count_of(element, name));
}

std::vector<Row> sorted(std::vector<Row> rows) {
  std::ranges::sort(rows, {}, [](const Row& row) -> const std::string& { return row[kKey]; });
  return rows;
}

std::vector<Row> rows_of(const Json& stats) {
  std::vector<Row> locks;
  for (const Json& lock : stats.at("locks")) {
    locks.push_back({"lock", escaped(lock.at("key").get<std::string>()),
                     escaped(lock.at("owner").get<std::string>()), time_text(lock, "held_s"),
                     time_text(lock, "lease_expires_in_s"), number_text(lock, "waiters")});
  }
  std::vector<Row> semaphores;
  for (const Json& semaphore : stats.at("semaphores")) {
    semaphores.push_back(
        {"semaphore", escaped(semaphore.at("key").get<std::string>()),
         number_text(semaphore, "holders") + " of " + number_text(semaphore, "limit"), "", "",
         number_text(semaphore, "waiters")});
  }
  std::vector<Row> rows = sorted(std::move(locks));
  // cppcheck-suppress accessMoved ; it is moved once, before the loop
  for (Row& row : sorted(std::move(semaphores))) rows.push_back(std::move(row));
  return rows;
}

std::array<std::size_t, kColumns> widths_of(const std::vector<Row>& rows, std::size_t width) {
  std::array<std::size_t, kColumns> widths{};
  std::size_t all = 2 * (kColumns - 1);
  for (std::size_t column = 0; column < kColumns; ++column) {
    for (const Row& row : rows) widths[column] = std::max(widths[column], width_of(row[column]));
    all += widths[column];
  }
  if (width == 0 || all <= width) return widths;
  const std::size_t others = all - widths[kKey];
  widths[kKey] = std::min(widths[kKey], width > others + kLeastKey ? width - others : kLeastKey);
  return widths;
}

std::string line_of(const Row& row, const std::array<std::size_t, kColumns>& widths) {
  std::string line;
  for (std::size_t column = 0; column < kColumns; ++column) {
    const std::string text = cut(row[column], widths[column]);
    const std::string space(widths[column] - width_of(text), ' ');
    const bool is_number = column > 2;
    if (column > 0) line += "  ";
    line += is_number ? space + text : text + space;
  }
  return line;
}

std::string count_text(std::size_t count, const char* name) {
  return std::to_string(count) + ' ' + name + (count == 1 ? "" : "s");
}

}  // namespace

std::vector<std::string> stats_table(std::string_view server, std::string_view json,
                                     std::size_t width) {
  try {
    const Json stats = Json::parse(json);
    const std::size_t idle = stats.at("idle_locks").size() + stats.at("idle_semaphores").size();
    std::vector<Row> rows = rows_of(stats);
    std::vector<std::string> lines{std::string(server) + ": " +
                                   count_text(count_of(stats, "connections"), "connection") + ", " +
                                   count_text(stats.at("locks").size(), "lock") + " and " +
                                   count_text(stats.at("semaphores").size(), "semaphore") +
                                   " held, " + count_text(idle, "idle key")};
    if (rows.empty()) return lines;
    rows.insert(rows.begin(), {"KIND", "KEY", "HOLDER", "HELD", "LEASE", "WAITERS"});
    const auto widths = widths_of(rows, width);
    for (const Row& row : rows) lines.push_back(line_of(row, widths));
    return lines;
  } catch (const Json::exception&) {
    throw std::runtime_error(std::string(server) + ": what it answers to stats is not understood");
  }
}

}  // namespace dflockd::ctl
