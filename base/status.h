#pragma once

// absl::Status and the two macros that pass it on. A Status is for what a peer or the environment
// does; our own mistakes are base/check.h. Messages name the thing and the limit, never a secret.

#include <utility>

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#define BULLA_RETURN_IF_ERROR(expression)                                                     \
  do {                                                                                        \
    if (absl::Status bulla_status_ = (expression); !bulla_status_.ok()) return bulla_status_; \
  } while (false)

// BULLA_ASSIGN_OR_RETURN(auto value, Function()): declares or assigns, or returns the error.
#define BULLA_ASSIGN_OR_RETURN(target, expression) \
  BULLA_ASSIGN_OR_RETURN_IMPL_(BULLA_STATUS_NAME_(__LINE__), target, expression)
#define BULLA_STATUS_NAME_(line) BULLA_STATUS_NAME_IMPL_(line)
#define BULLA_STATUS_NAME_IMPL_(line) bulla_status_or_##line
// `target` may be a declaration, which takes no parentheses.
// NOLINTBEGIN(bugprone-macro-parentheses)
#define BULLA_ASSIGN_OR_RETURN_IMPL_(status_or, target, expression) \
  auto status_or = (expression);                                    \
  if (!status_or.ok()) return std::move(status_or).status();        \
  target = std::move(status_or).value()
// NOLINTEND(bugprone-macro-parentheses)
