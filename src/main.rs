//! The `rowhouse` command: arguments in, exit status out; everything else is in the library.

use std::process::ExitCode;

use clap::Parser as _;
use rowhouse::cli;

fn main() -> ExitCode {
    cli::run(cli::Arguments::parse())
}
