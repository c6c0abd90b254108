// The API's description, an OpenAPI 3.1 document: docs/openapi.json, embedded when the program is
// built.
#pragma once

#include <string_view>

namespace dflockd::http {

/// The document. Lives for ever.
[[nodiscard]] std::string_view openapi_document();

}  // namespace dflockd::http
