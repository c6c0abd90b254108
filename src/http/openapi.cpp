#include "http/openapi.hpp"
namespace dflockd::http {
std::string_view openapi_document() {
  return "{}";
}
}  // namespace dflockd::http
