#include "http/reports.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <iterator>
#include <set>
#include <string>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "base/json.hpp"
#include "base/text.hpp"
#include "http/routes.hpp"
#include "service/stats_report.hpp"

namespace dflockd::http {

namespace {

using service::StatsQuery;

constexpr std::array kOrders{
    std::pair("waiters", StatsQuery::Order::kWaiters),
    std::pair("oldest_wait", StatsQuery::Order::kOldestWait),
    std::pair("held", StatsQuery::Order::kHeld),
    std::pair("key", StatsQuery::Order::kKey),
};

/// How much of a parameter's name is shown.
constexpr std::size_t kShown = 64;

/// Sets what a parameter says. Returns what is wrong with it; empty: nothing.
std::string take_parameter(StatsQuery& query, std::string_view name, const std::string& value) {
  if (name == "prefix") {
    query.prefix = value;
  } else if (name == "sort") {
    const auto* const order =
        std::ranges::find_if(kOrders, [&](const auto& known) { return known.first == value; });
    if (order == kOrders.end()) return "sort: expected waiters, oldest_wait, held or key";
    query.order = order->second;
  } else if (name == "limit") {
    const char* const end = value.data() + value.size();
    const auto read = std::from_chars(value.data(), end, query.limit);
    if (read.ec != std::errc() || read.ptr != end || query.limit < 1 ||
        query.limit > StatsQuery::kMostKeys) {
      return fmt::format("limit: expected an integer from 1 to {}", StatsQuery::kMostKeys);
    }
  } else {
    return "unknown parameter " + base::in_quotes(name.substr(0, kShown));
  }
  return {};
}

}  // namespace

std::variant<std::optional<StatsQuery>, Failure> read_stats_query(std::string_view query) {
  if (query.empty()) return std::nullopt;
  StatsQuery read;
  std::set<std::string_view> given;
  for (std::size_t at = 0; at <= query.size();) {
    const std::size_t end = std::min(query.find('&', at), query.size());
    const std::string_view parameter = query.substr(at, end - at);
    const std::string_view name = parameter.substr(0, parameter.find('='));
    const auto value =
        percent_decoded(parameter.substr(std::min(name.size() + 1, parameter.size())));
    if (!value) return Failure{.detail = "the query has a '%' without two hex digits behind it"};
    std::string problem = take_parameter(read, name, *value);
    if (problem.empty() && !given.insert(name).second)
      problem = fmt::format("{}: given twice", name);
    if (problem.empty() && name == parameter) problem = fmt::format("{}: has no value", name);
    if (!problem.empty()) return Failure{.detail = std::move(problem)};
    at = end + 1;
  }
  return read;
}

Response list_of(const Callers& callers) {
  Response response{.body = R"({"sessions":[)"};
  for (const Callers::Info& session : callers.list(kMostListed)) {
    if (response.body.back() != '[') response.body += ',';
    fmt::format_to(std::back_inserter(response.body),
                   R"({{"owner_conn_id":{},"address":"{}","name":{},"idle_s":{:.3f},"holds":{},)"
                   R"("waits":{}}})",
                   session.owner.connection_id, session.address,
                   base::json_string(session.owner.name), service::in_seconds(session.idle),
                   session.claims.held, session.claims.waiting);
  }
  fmt::format_to(std::back_inserter(response.body), R"(],"total":{}}})", callers.size());
  return response;
}

}  // namespace dflockd::http
