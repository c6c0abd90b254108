#include <algorithm>
#include <array>
#include <cstddef>

#include <unistd.h>

#include "base/text.hpp"
#include "config/sources.hpp"

namespace dflockd::config {
namespace {

constexpr std::string_view kPrefix = "DFLOCKD_";

/// What dflockctl reads, and what it sets for the commands that it runs.
constexpr std::array<std::string_view, 7> kOfDflockctl{
    "DFLOCKD_SERVER", "DFLOCKD_TLS",   "DFLOCKD_TLS_CA", "DFLOCKD_TLS_SERVER_NAME",
    "DFLOCKD_KEY",    "DFLOCKD_TOKEN", "DFLOCKD_FENCE"};

/// Whether the name is one of those that Kubernetes makes of a service called dflockd or dflockd-x:
/// DFLOCKD_SERVICE_HOST, DFLOCKD_SERVICE_PORT_HTTP, DFLOCKD_PORT_6388_TCP_ADDR.
bool is_of_service(std::string_view name) {
  if (name.ends_with("_SERVICE_HOST") || name.ends_with("_SERVICE_PORT") ||
      name.find("_SERVICE_PORT_") != std::string_view::npos) {
    return true;
  }
  constexpr std::string_view kPort = "_PORT_";
  constexpr std::string_view kDigits = "0123456789";
  const std::size_t port = name.find(kPort);
  if (port == std::string_view::npos) return false;
  const std::string_view number = name.substr(port + kPort.size());
  const std::size_t end = number.find_first_not_of(kDigits);
  if (end == 0 || end == std::string_view::npos) return false;
  const std::string_view rest = number.substr(end);
  return rest.starts_with("_TCP") || rest.starts_with("_UDP") || rest.starts_with("_SCTP");
}

}  // namespace

Environment process_environment() {
  std::size_t size = 0;
  while (environ != nullptr && environ[size] != nullptr) ++size;
  return {environ, size};
}

OwnVariables::OwnVariables(Environment environment) {
  for (const char* const variable : environment) {
    const std::string_view text = variable;
    const std::size_t equals = text.find('=');
    if (!text.starts_with(kPrefix) || equals == std::string_view::npos) continue;
    const std::string_view name = text.substr(0, equals);
    if (std::ranges::find(variables_, name, &Variable::name) == variables_.end()) {
      variables_.push_back({.name = name, .value = variable + equals + 1});
    }
  }
  std::erase_if(variables_, [](const Variable& variable) { return *variable.value == '\0'; });
}

const char* OwnVariables::take(std::string_view name) {
  const auto found = std::ranges::find(variables_, name, &Variable::name);
  if (found == variables_.end()) return nullptr;
  found->taken = true;
  return base::is_service_address(found->value) ? nullptr : found->value;
}

std::vector<std::string> OwnVariables::warnings(const std::vector<std::string_view>& names) const {
  std::vector<std::string> warnings;
  std::string of_service;
  for (const auto& [name, value, taken] : variables_) {
    const bool is_address = base::is_service_address(value);
    if (taken && is_address) {
      warnings.push_back(std::string(name) + " is passed over: " + base::kServiceAddress);
    } else if (!taken && (is_address || is_of_service(name))) {
      of_service += (of_service.empty() ? "" : ", ") + base::escaped(name);
    } else if (!taken && std::ranges::find(kOfDflockctl, name) == kOfDflockctl.end()) {
      warnings.push_back(base::escaped(name) + " is no variable of dflockd; the nearest is " +
                         std::string(nearest(name, names)));
    }
  }
  if (!of_service.empty()) {
    warnings.push_back("passed over, as a container platform sets them for a service: " +
                       of_service);
  }
  return warnings;
}

}  // namespace dflockd::config
