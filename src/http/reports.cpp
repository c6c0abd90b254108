#include "http/reports.hpp"

#include <iterator>

#include <fmt/format.h>

#include "base/json.hpp"
#include "service/stats_report.hpp"

namespace dflockd::http {

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
