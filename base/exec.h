#pragma once

// Starting another program, for what of it happens between fork and exec.

namespace bulla {

// Runs the program argv[0], or says on standard error which one could not be
// run and why, and ends with status 127. Signals that this process ignores or blocks are as usual
// in the program. Async-signal-safe.
[[noreturn]] void ExecOrExplain(char* const* argv, char* const* environment);

}  // namespace bulla
