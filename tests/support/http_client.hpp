// A client of the HTTP API that does what a test tells it, correct or not.
//
//   Server server(Http::kOn);
//   HttpClient client(server);
//   const std::string session = client.open_session();
//   EXPECT_EQ(client.acquire(session, lock("job"), 0).status, 200);
//
// As with `Client`, every wait has a deadline, and what the test did not ask for is a
// `std::runtime_error`.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/client.hpp"
#include "support/tls_client.hpp"

namespace dflockd::test {

struct HttpResponse {
  int status = 0;
  std::vector<std::pair<std::string, std::string>> headers{};  ///< names in lower case, in order
  std::string body{};

  /// The only field of this name, given in lower case; nothing if there is none.
  [[nodiscard]] std::optional<std::string> header(std::string_view name) const;
  /// The body, which must be a JSON object.
  [[nodiscard]] nlohmann::json json() const;
  /// A member of the body that is a string; empty if there is none.
  [[nodiscard]] std::string text(const std::string& member) const;
  /// Status and what the body says in one word: "200 ok", "409 not_enqueued", "204".
  [[nodiscard]] std::string summary() const;
};

/// The grant in an answer, which must say `status` ("ok", or "acquired" of an enqueue).
Grant grant_in(const HttpResponse& response, const std::string& status = "ok");

/// Throws unless docs/openapi.json allows this answer to such a request.
void check_documented(std::string_view method, std::string_view path, const HttpResponse& response);

/// The path of a key's route: "/v1/locks/job" and, with an operation, "/v1/locks/job/release". The
/// name goes in as it is.
std::string path_of(const Key& key, std::string_view operation = {});

class HttpClient {
 public:
  /// Connects to the server's HTTP port.
  explicit HttpClient(const Server& server, Route route = {});
  /// Over TLS.
  HttpClient(const Server& server, const TlsOptions& options);

  /// From now on, every request that is made for the test carries this token.
  void authorize(const std::string& token) { authorization_ = "Bearer " + token; }

  /// The connection below.
  [[nodiscard]] Client& connection() { return *connection_; }

  // --- Bytes and messages ---

  /// Sends all of it.
  void send(std::string_view bytes) { connection_->send(bytes); }
  /// The bytes of a request, with Host, the session unless it is empty, and Content-Length if there
  /// is a body or the method is POST. `more_headers` are whole lines; a first one that is a Host
  /// replaces ours.
  [[nodiscard]] std::string request_bytes(std::string_view method, std::string_view path,
                                          std::string_view body = {}, std::string_view session = {},
                                          std::string_view more_headers = {}) const;
  /// The next response. `head`: to a HEAD request, so without its body.
  HttpResponse read_response(Duration patience = kPatience, bool head = false);

  // --- Requests with their responses, which must be as docs/openapi.json says ---

  HttpResponse request(std::string_view method, std::string_view path, std::string_view body = {},
                       std::string_view session = {}, std::string_view more_headers = {});
  HttpResponse get(std::string_view path) { return request("GET", path); }
  HttpResponse post(std::string_view path, std::string_view body = {},
                    std::string_view session = {}) {
    return request("POST", path, body, session);
  }

  /// What /metrics says: the values by their series, as `name` or `name{label="value"}`.
  std::map<std::string, double> metrics();
  /// One of them; 0 if it is not there.
  double metric(const std::string& series);

  /// Opens a session, with this body, and returns its id.
  std::string open_session(std::string_view body = {});
  HttpResponse ping_session(const std::string& session);
  HttpResponse delete_session(const std::string& session);

  HttpResponse acquire(std::string_view session, const Key& key, std::int64_t timeout,
                       std::optional<std::int64_t> lease = {});
  HttpResponse release(std::string_view session, const Key& key, const std::string& token);
  HttpResponse renew(std::string_view session, const Key& key, const std::string& token,
                     std::optional<std::int64_t> lease = {});
  HttpResponse enqueue(std::string_view session, const Key& key,
                       std::optional<std::int64_t> lease = {});
  HttpResponse wait(std::string_view session, const Key& key, std::int64_t timeout);

  /// Acquires a free slot.
  Grant hold(std::string_view session, const Key& key, std::int64_t lease = 60);

  // --- Requests that block; `read_response` has their answer ---

  void begin_acquire(std::string_view session, const Key& key, std::int64_t timeout = 60,
                     std::int64_t lease = 60);
  void begin_wait(std::string_view session, const Key& key, std::int64_t timeout = 60);

  // --- Leaving ---

  void close() { connection_->close(); }
  void half_close() { connection_->half_close(); }
  void reset() { connection_->reset(); }

 private:
  std::unique_ptr<Client> connection_;
  std::string authorization_;
};

}  // namespace dflockd::test
