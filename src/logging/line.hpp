// What a log line looks like after its time. Internal to the room.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "logging/field.hpp"

namespace dflockd::logging {

/// Appends `level event key=value ...`. Text that is empty or holds anything but printable ASCII
/// without spaces, quotes, '=' and '\' is put in double quotes and escaped.
void append_text(Level level, std::string_view event, std::span<const Field> fields,
                 std::string& line);

/// Appends `"level":"...","event":"...","key":value,...`, which together with the time makes a JSON
/// object. Control characters are escaped, also those that JSON allows; bytes that are not UTF-8
/// become U+FFFD; numbers that JSON does not have become null.
void append_json(Level level, std::string_view event, std::span<const Field> fields,
                 std::string& line);

}  // namespace dflockd::logging
