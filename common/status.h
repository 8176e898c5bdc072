#pragma once

#include "common/result.h"

// What the tree itself adds to Status and Result: assertions, and the two macros that pass an error
// on. Apart from them because macros with such plain names have no place in a public header: users
// of the library have a CHECK of their own.

// For what would corrupt data. Always on; aborts with file, line and text.
#define CHECK(condition, ...)                                                             \
  do {                                                                                    \
    if (!(condition)) [[unlikely]]                                                        \
      ::sheaf::internal::CheckFailed(__FILE__, __LINE__, #condition, std::string(__VA_ARGS__)); \
  } while (false)

// For our own arithmetic. Off in release.
#ifdef NDEBUG
#define DCHECK(condition, ...) \
  do {                         \
    (void)sizeof(condition);   \
  } while (false)
#else
#define DCHECK(condition, ...) CHECK(condition, ##__VA_ARGS__)
#endif

#define SHEAF_CONCAT_(a, b) a##b
#define SHEAF_CONCAT(a, b) SHEAF_CONCAT_(a, b)

#define RETURN_IF_ERROR(expression)                      \
  do {                                                   \
    ::sheaf::Status status_macro_ = (expression);        \
    if (!status_macro_.ok()) return status_macro_;       \
  } while (false)

// ASSIGN_OR_RETURN(auto x, Call());
#define ASSIGN_OR_RETURN(declaration, expression) \
  ASSIGN_OR_RETURN_(SHEAF_CONCAT(result_macro_, __LINE__), declaration, expression)
#define ASSIGN_OR_RETURN_(result, declaration, expression) \
  auto result = (expression);                              \
  if (!result.ok()) return result.status();                \
  declaration = std::move(result).value()
