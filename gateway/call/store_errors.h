#pragma once

// What callers learn when the key store does not do what it should. Not what the store says, which
// goes to the log: it names files and tables.

#include "base/status.h"
#include "store/key_store.h"
#include "wire/errors.h"

namespace bulla {

// A read that failed with `status`, which is logged.
Error StoreError(const absl::Status& status);
// `fault`: why nothing can be written now.
Error CannotStore(StoreFault fault);
// A write that failed, for a reason that the store knows by now.
Error StoreWriteError(const KeyStore& store, const absl::Status& status);

}  // namespace bulla
