#include "support/http_client.hpp"

#include <algorithm>
#include <cctype>
#include <sstream>
#include <stdexcept>

namespace dflockd::test {

namespace {

std::string line_without_cr(std::string line) {
  if (!line.ends_with('\r')) throw std::runtime_error("a line ends without CR: " + line);
  line.pop_back();
  return line;
}

std::pair<std::string, std::string> parse_header(const std::string& line) {
  const std::size_t colon = line.find(':');
  if (colon == std::string::npos) throw std::runtime_error("not a header field: " + line);
  std::string name = line.substr(0, colon);
  std::ranges::transform(name, name.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const std::size_t value = std::min(line.find_first_not_of(' ', colon + 1), line.size());
  return {std::move(name), line.substr(value)};
}

std::string body_of_acquire(const Key& key, std::int64_t timeout,
                            std::optional<std::int64_t> lease) {
  nlohmann::json body{{"acquire_timeout_s", timeout}};
  if (lease) body["lease_ttl_s"] = *lease;
  if (key.limit) body["limit"] = *key.limit;
  return body.dump();
}

std::string body_of_wait(std::int64_t timeout) {
  return nlohmann::json{{"timeout_s", timeout}}.dump();
}

Route to_http(const Server& server, Route route) {
  if (server.http_port() == 0) throw std::runtime_error("the server was not given an HTTP socket");
  if (route.to.empty()) route.to = "127.0.0.1";
  route.port = server.http_port();
  return route;
}

}  // namespace

std::optional<std::string> HttpResponse::header(std::string_view name) const {
  std::optional<std::string> found;
  for (const auto& [other, value] : headers) {
    if (other != name) continue;
    if (found) throw std::runtime_error("the field comes twice: " + other);
    found = value;
  }
  return found;
}

nlohmann::json HttpResponse::json() const {
  auto parsed = nlohmann::json::parse(body, nullptr, false);
  if (!parsed.is_object()) throw std::runtime_error("not a JSON object: " + body);
  return parsed;
}

std::string HttpResponse::text(const std::string& member) const {
  const nlohmann::json object = json();
  const auto found = object.find(member);
  return found == object.end() ? "" : found->get<std::string>();
}

std::string HttpResponse::summary() const {
  std::string summary = std::to_string(status);
  if (body.empty()) return summary;
  const nlohmann::json object = json();
  for (const char* const member : {"error", "status"}) {
    if (const auto found = object.find(member); found != object.end()) {
      return summary + " " + found->get<std::string>();
    }
  }
  return summary;
}

Grant grant_in(const HttpResponse& response, const std::string& status) {
  if (response.status != 200) throw std::runtime_error("no grant: " + response.summary());
  const nlohmann::json body = response.json();
  if (body.size() != 3) throw std::runtime_error("not a grant: " + response.body);
  const std::string reply = body.at("status").get<std::string>() + " " +
                            body.at("token").get<std::string>() + " " +
                            std::to_string(body.at("lease_ttl_s").get<std::int64_t>());
  if (status == "acquired") return acquired(reply);
  return granted(reply);
}

std::string path_of(const Key& key, std::string_view operation) {
  std::string path = (key.limit ? "/v1/semaphores/" : "/v1/locks/") + key.name;
  if (!operation.empty()) path.append("/").append(operation);
  return path;
}

HttpClient::HttpClient(const Server& server, Route route)
    : connection_(std::make_unique<Client>(server, to_http(server, std::move(route)))) {}

HttpClient::HttpClient(const Server& server, const TlsOptions& options)
    : connection_(std::make_unique<TlsClient>(server, options, to_http(server, {}))) {}

std::string HttpClient::request_bytes(std::string_view method, std::string_view path,
                                      std::string_view body, std::string_view session,
                                      std::string_view more_headers) const {
  std::string bytes;
  bytes.append(method).append(" ").append(path).append(" HTTP/1.1\r\n");
  if (!more_headers.starts_with("Host:")) bytes += "Host: localhost\r\n";
  if (!session.empty()) bytes.append("X-Dflockd-Session: ").append(session).append("\r\n");
  if (!authorization_.empty()) bytes.append("Authorization: ").append(authorization_ + "\r\n");
  if (!body.empty() || method == "POST") {
    bytes.append("Content-Length: ").append(std::to_string(body.size())).append("\r\n");
  }
  return bytes.append(more_headers).append("\r\n").append(body);
}

HttpResponse HttpClient::read_response(Duration patience, bool head) {
  const auto deadline = Clock::now() + patience;
  const auto left = [deadline] { return deadline - Clock::now(); };
  const std::string first = line_without_cr(connection_->read_line(left()));
  constexpr std::string_view kVersion = "HTTP/1.1 ";
  if (!first.starts_with(kVersion)) throw std::runtime_error("not a status line: " + first);
  HttpResponse response{.status = std::stoi(first.substr(kVersion.size()))};
  for (;;) {
    const std::string line = line_without_cr(connection_->read_line(left()));
    if (line.empty()) break;
    response.headers.push_back(parse_header(line));
  }
  if (response.status == 100) return response;
  const auto length = response.header("content-length");
  if (length.has_value() == (response.status == 204)) {
    throw std::runtime_error("Content-Length is missing, or belongs to no body: " + first);
  }
  if (!response.header("date") || response.header("x-content-type-options") != "nosniff") {
    throw std::runtime_error("a response without Date or without nosniff");
  }
  if (head || !length) return response;
  response.body = connection_->read_bytes(std::stoul(*length), left());
  if (!response.body.ends_with('\n')) throw std::runtime_error("no newline: " + response.body);
  return response;
}

HttpResponse HttpClient::request(std::string_view method, std::string_view path,
                                 std::string_view body, std::string_view session,
                                 std::string_view more_headers) {
  send(request_bytes(method, path, body, session, more_headers));
  HttpResponse response = read_response(kPatience, method == "HEAD");
  check_documented(method, path, response);
  return response;
}

std::map<std::string, double> HttpClient::metrics() {
  const HttpResponse response = get("/metrics");
  if (response.status != 200) throw std::runtime_error("no metrics: " + response.summary());
  std::map<std::string, double> samples;
  std::istringstream lines(response.body);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t blank = line.rfind(' ');
    if (!line.starts_with('#')) samples[line.substr(0, blank)] = std::stod(line.substr(blank));
  }
  return samples;
}

double HttpClient::metric(const std::string& series) {
  const auto samples = metrics();
  const auto found = samples.find(series);
  return found == samples.end() ? 0 : found->second;
}

std::string HttpClient::open_session(std::string_view body) {
  const HttpResponse response = post("/v1/sessions", body);
  if (response.status != 200) throw std::runtime_error("no session: " + response.summary());
  return response.text("session_id");
}

HttpResponse HttpClient::ping_session(const std::string& session) {
  return post("/v1/sessions/" + session + "/ping");
}

HttpResponse HttpClient::delete_session(const std::string& session) {
  return request("DELETE", "/v1/sessions/" + session);
}

HttpResponse HttpClient::acquire(std::string_view session, const Key& key, std::int64_t timeout,
                                 std::optional<std::int64_t> lease) {
  return post(path_of(key), body_of_acquire(key, timeout, lease), session);
}

HttpResponse HttpClient::release(std::string_view session, const Key& key,
                                 const std::string& token) {
  return post(path_of(key, "release"), nlohmann::json{{"token", token}}.dump(), session);
}

HttpResponse HttpClient::renew(std::string_view session, const Key& key, const std::string& token,
                               std::optional<std::int64_t> lease) {
  nlohmann::json body{{"token", token}};
  if (lease) body["lease_ttl_s"] = *lease;
  return post(path_of(key, "renew"), body.dump(), session);
}

HttpResponse HttpClient::enqueue(std::string_view session, const Key& key,
                                 std::optional<std::int64_t> lease) {
  nlohmann::json body = nlohmann::json::object();
  if (lease) body["lease_ttl_s"] = *lease;
  if (key.limit) body["limit"] = *key.limit;
  return post(path_of(key, "enqueue"), body.empty() ? "" : body.dump(), session);
}

HttpResponse HttpClient::wait(std::string_view session, const Key& key, std::int64_t timeout) {
  return post(path_of(key, "wait"), body_of_wait(timeout), session);
}

Grant HttpClient::hold(std::string_view session, const Key& key, std::int64_t lease) {
  return grant_in(acquire(session, key, 0, lease));
}

void HttpClient::begin_acquire(std::string_view session, const Key& key, std::int64_t timeout,
                               std::int64_t lease) {
  send(request_bytes("POST", path_of(key), body_of_acquire(key, timeout, lease), session));
}

void HttpClient::begin_wait(std::string_view session, const Key& key, std::int64_t timeout) {
  send(request_bytes("POST", path_of(key, "wait"), body_of_wait(timeout), session));
}

}  // namespace dflockd::test
