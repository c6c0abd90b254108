// docs/openapi.json, against which the tests hold what the server answers.
#include <algorithm>
#include <cctype>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "support/http_client.hpp"

namespace dflockd::test {

namespace {

using Json = nlohmann::json;

const Json& document() {
  static const Json parsed = [] {
    std::ifstream file(DFLOCKD_SOURCE "/docs/openapi.json");
    return Json::parse(file);
  }();
  return parsed;
}

/// The object itself, or the one that it is a reference to, "#/components/...".
const Json& resolved(const Json& object) {
  const auto reference = object.find("$ref");
  if (reference == object.end()) return object;
  return document().at(Json::json_pointer(reference->get<std::string>().substr(1)));
}

std::string problem(const Json& schema, const Json& value, const std::string& at);

std::string problem_with_members(const Json& schema, const Json& value, const std::string& at) {
  for (const Json& name : schema.value("required", Json::array())) {
    if (!value.contains(name.get<std::string>())) return at + "." + name.dump() + " is missing";
  }
  const Json properties = schema.value("properties", Json::object());
  for (const auto& [name, member] : value.items()) {
    if (!properties.contains(name)) continue;
    const std::string found = problem(properties.at(name), member, at + "." + name);
    if (!found.empty()) return found;
  }
  return {};
}

/// What is wrong with `value`, by the part of JSON Schema that the document uses; empty if nothing
/// is.
std::string problem(const Json& given, const Json& value, const std::string& at) {
  const Json& schema = resolved(given);
  for (const Json& part : schema.value("allOf", Json::array())) {
    if (const std::string found = problem(part, value, at); !found.empty()) return found;
  }
  const auto fits = [&](const Json& part) { return problem(part, value, at).empty(); };
  if (schema.contains("oneOf") && std::ranges::count_if(schema.at("oneOf"), fits) != 1) {
    return at + " is not exactly one of the alternatives";
  }
  const std::string type = schema.value("type", value.type_name());
  if (type == "integer" ? !value.is_number_integer() : type != value.type_name()) {
    return at + " is not of type " + type;
  }
  if (std::ranges::count(schema.value("enum", Json::array({value})), value) == 0 ||
      schema.value("const", value) != value || value < schema.value("minimum", value) ||
      value > schema.value("maximum", value)) {
    return at + " is none of the values that are allowed";
  }
  if (schema.contains("pattern") &&
      !std::regex_search(value.get<std::string>(), std::regex(schema.at("pattern")))) {
    return at + " does not match " + schema.at("pattern").dump();
  }
  if (value.is_object()) return problem_with_members(schema, value, at);
  if (value.is_array() && schema.contains("items")) {
    for (const Json& item : value) {
      const std::string found = problem(schema.at("items"), item, at + "[]");
      if (!found.empty()) return found;
    }
  }
  return {};
}

/// The answers to a request that no operation takes, or that is refused before one is looked for.
Json undocumented(int status, bool path_exists) {
  const std::map<int, std::vector<std::string>> codes{
      {400, {"bad_request"}},
      {401, {"unauthorized"}},
      {403, {"forbidden_host", "forbidden_origin"}},
      {path_exists ? 405 : 404, {path_exists ? "method_not_allowed" : "not_found"}},
      {413, {"body_too_large"}},
      {429, {"rate_limited"}},
      {431, {"headers_too_large"}}};
  const auto found = codes.find(status);
  if (found == codes.end()) return nullptr;
  Json answer;
  Json& schema = answer["content"]["application/json"]["schema"]["allOf"];
  schema[0]["$ref"] = "#/components/schemas/Error";
  schema[1]["properties"]["error"]["enum"] = found->second;
  if (status == 405) answer["headers"]["Allow"]["required"] = true;
  return answer;
}

/// What the document says of answers with this status to such a request; null if it has none.
Json described(std::string method, std::string path, int status) {
  path = std::regex_replace(path, std::regex(R"(^http://[^/]*|\?.*)"), "");
  if (method == "HEAD") method = "GET";
  std::ranges::transform(method, method.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const auto& [pattern, item] : document().at("paths").items()) {
    const std::string of_paths = std::regex_replace(pattern, std::regex(R"(\{\w+\})"), "[^/]*");
    if (!std::regex_match(path, std::regex(of_paths))) continue;
    if (!item.contains(method)) return undocumented(status, true);
    const Json& responses = item.at(method).at("responses");
    const auto found = responses.find(std::to_string(status));
    return found == responses.end() ? Json() : resolved(*found);
  }
  return undocumented(status, false);
}

}  // namespace

void check_documented(std::string_view method, std::string_view path,
                      const HttpResponse& response) {
  if (method == "OPTIONS" && response.status == 204) return;  // the Fetch standard's matter
  const auto expect = [&](bool condition, const std::string& what) {
    if (condition) return;
    throw std::runtime_error(std::string(method) + " " + std::string(path) + ": " +
                             std::to_string(response.status) + ": " + what + ": " + response.body);
  };
  const Json answer = described(std::string(method), std::string(path), response.status);
  expect(!answer.is_null(), "is not documented");
  const Json headers = answer.value("headers", Json::object());
  for (const auto& [name, header] : headers.items()) {
    std::string lower = name;
    std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
    expect(!resolved(header).value("required", false) || response.header(lower), "no " + name);
  }
  const std::string type = response.header("content-type").value_or("");
  const std::string media_type = type.substr(0, type.find(';'));
  const Json content = answer.value("content", Json::object());
  expect(content.contains(media_type) || (content.empty() && type.empty()), "type is " + type);
  if (media_type != "application/json" || method == "HEAD") return;
  const std::string found = problem(content.at(media_type).at("schema"), response.json(), "body");
  expect(found.empty(), found);
}

}  // namespace dflockd::test
