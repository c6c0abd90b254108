// What the shared library exports.
#pragma once

#define DFLOCKD_API __attribute__((visibility("default")))
