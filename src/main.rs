//! The `tollgate` program.

use std::process::ExitCode;

/// Allocation is a large part of the cost of a small request; this allocator takes
/// measurably less time than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tollgate::cli::main()
}
