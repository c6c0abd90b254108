// docs/openapi.json, as it is embedded, against the table of routes and against itself.
#include <algorithm>
#include <cctype>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "http/routes.hpp"

namespace dflockd::http {
namespace {

using Json = nlohmann::json;
using testing::IsEmpty;

const Json& document() {
  static const Json parsed = Json::parse(openapi_document());
  return parsed;
}

/// A method as OpenAPI names operations: "post".
std::string operation_name(Method method) {
  std::string name(text(method));
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
  return name;
}

std::string operation_name(const Route& route) {
  return operation_name(route.method) + ' ' + std::string(route.pattern);
}

/// Calls `visit` with the name of every operation of the document, "post /v1/sessions", and with
/// the operation.
void for_each_operation(const std::function<void(const std::string&, const Json&)>& visit) {
  for (const auto& [path, item] : document().at("paths").items()) {
    for (const auto& [method, operation] : item.items()) visit(method + ' ' + path, operation);
  }
}

const Json& operation_of(const Route& route) {
  return document().at("paths").at(std::string(route.pattern)).at(operation_name(route.method));
}

/// Calls `visit` with every object in `value`, itself included.
void for_each_object(const Json& value, const std::function<void(const Json&)>& visit) {
  if (value.is_object()) visit(value);
  if (!value.is_structured()) return;
  for (const Json& part : value) for_each_object(part, visit);
}

/// The object that a local reference, "#/components/...", leads to; null if it leads nowhere.
const Json* resolve(const std::string& reference) {
  if (!reference.starts_with("#/")) return nullptr;
  const Json::json_pointer pointer(reference.substr(1));
  return document().contains(pointer) ? &document().at(pointer) : nullptr;
}

/// The object itself, or the one that it is a reference to.
const Json& resolved(const Json& object) {
  const auto reference = object.find("$ref");
  return reference == object.end() ? object : *resolve(reference->get<std::string>());
}

TEST(OpenApi, lists_the_routes_and_no_others) {
  std::set<std::string> expected;
  for (const Route& route : routes()) expected.insert(operation_name(route));
  std::set<std::string> listed;
  for_each_operation([&](const std::string& name, const Json&) { listed.insert(name); });
  EXPECT_EQ(listed, expected);
}

TEST(OpenApi, demands_credentials_exactly_where_the_server_does) {
  EXPECT_EQ(document().at("security"), Json::parse(R"([{"bearer":[]}])"));
  for (const Route& route : routes()) {
    const Json& operation = operation_of(route);
    EXPECT_EQ(operation.contains("security"), !route.needs_auth) << operation_name(route);
    if (!route.needs_auth) {
      EXPECT_THAT(operation.value("security", Json()), IsEmpty()) << operation_name(route);
    }
    EXPECT_EQ(operation.at("responses").contains("401"), route.needs_auth) << operation_name(route);
  }
}

TEST(OpenApi, tells_of_rate_limits_exactly_where_there_are_some) {
  for (const Route& route : routes()) {
    EXPECT_EQ(operation_of(route).at("responses").contains("429"), route.bucket != Bucket::kNone)
        << operation_name(route);
  }
}

TEST(OpenApi, declares_the_parameter_of_each_path) {
  for (const Route& route : routes()) {
    std::set<std::string> in_pattern;
    if (const auto open = route.pattern.find('{'); open != std::string_view::npos) {
      const auto close = route.pattern.find('}', open);
      in_pattern.emplace(route.pattern.substr(open + 1, close - open - 1));
    }
    std::set<std::string> declared;
    for (const Json& given : operation_of(route).value("parameters", Json::array())) {
      const Json& parameter = resolved(given);
      if (parameter.at("in") == "path") declared.insert(parameter.at("name"));
    }
    EXPECT_EQ(declared, in_pattern) << operation_name(route);
  }
}

TEST(OpenApi, demands_a_session_exactly_for_what_changes_locks_and_semaphores) {
  for (const Route& route : routes()) {
    bool demanded = false;
    for (const Json& given : operation_of(route).value("parameters", Json::array())) {
      const Json& parameter = resolved(given);
      if (parameter.at("in") != "header") continue;
      EXPECT_EQ(parameter.at("name"), "X-Dflockd-Session") << operation_name(route);
      demanded = parameter.at("required");
    }
    EXPECT_EQ(demanded, changes_locks(route.operation)) << operation_name(route);
  }
}

TEST(OpenApi, has_the_version_of_the_program) {
  EXPECT_EQ(document().at("openapi"), "3.1.0");
  EXPECT_EQ(document().at("info").at("version"), DFLOCKD_VERSION);
}

TEST(OpenApi, refers_to_nothing_that_is_missing) {
  for_each_object(document(), [](const Json& object) {
    if (const auto reference = object.find("$ref"); reference != object.end()) {
      EXPECT_NE(resolve(reference->get<std::string>()), nullptr) << *reference;
    }
    if (const auto discriminator = object.find("discriminator"); discriminator != object.end()) {
      for (const Json& target : discriminator->at("mapping")) {
        EXPECT_NE(resolve(target.get<std::string>()), nullptr) << target;
      }
    }
  });
}

TEST(OpenApi, has_no_component_that_nothing_refers_to) {
  std::set<std::string> used;
  for_each_object(document(), [&](const Json& object) {
    if (object.contains("$ref")) used.insert(object.at("$ref"));
  });
  for (const std::string kind : {"parameters", "responses", "schemas"}) {
    for (const auto& [name, component] : document().at("components").at(kind).items()) {
      EXPECT_TRUE(used.contains("#/components/" + kind + '/' + name)) << kind << ' ' << name;
    }
  }
}

TEST(OpenApi, refuses_unknown_fields_in_every_request_body) {
  for_each_operation([](const std::string& name, const Json& operation) {
    if (!operation.contains("requestBody")) return;
    const Json& body = operation.at("requestBody").at("content").at("application/json");
    EXPECT_EQ(resolved(body.at("schema")).at("additionalProperties"), false) << name;
  });
}

/// Every failure is an object with a code, of which the ones that may come there are listed.
TEST(OpenApi, lists_the_codes_of_every_failure) {
  for_each_operation([](const std::string& name, const Json& operation) {
    for (const auto& [status, given] : operation.at("responses").items()) {
      if (status < "400") continue;
      if (name == "get /ready" && status == "503") continue;  // a state, and no failure
      const Json& content = resolved(given).at("content").at("application/json");
      const Json& schema = content.at("schema").at("allOf");
      EXPECT_EQ(schema.at(0).at("$ref"), "#/components/schemas/Error") << name << ' ' << status;
      std::set<std::string> codes = schema.at(1).at("properties").at("error").at("enum");
      std::set<std::string> shown;
      for (const Json& example : content.at("examples")) shown.insert(example["value"]["error"]);
      EXPECT_EQ(shown, codes) << name << ' ' << status;
    }
  });
}

}  // namespace
}  // namespace dflockd::http
