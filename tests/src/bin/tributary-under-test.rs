//! The daemon as a child of the tests: `tributary` itself, under a name that cargo tells them.

use std::process::ExitCode;

fn main() -> ExitCode {
    tributary::cli::main()
}
